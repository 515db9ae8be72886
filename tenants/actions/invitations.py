"""Invitations: a link sent to an address, with which its owner joins a company."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.actions.people import add_membership
from tenants.actions.proof import lock_account, prove_address, revoke_access
from tenants.authentication import Principal, hash_secret
from tenants.db import call_privileged
from tenants.errors import (
    Invalid,
    InvalidInvitation,
    NotFound,
    SignInRequired,
    UnverifiedAddress,
    WrongAccount,
)
from tenants.models import Invitation, Membership, Role, Tenant, User
from tenants.scope import tenant_scope
from tenants.validation import clean_choice, clean_email_address, clean_password, clean_text

INVITATION_VALIDITY = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class OpenInvitation:
    """Open invitation as shown on its page."""

    id: UUID
    tenant: Tenant
    email: str
    proves_address: bool


def invite(principal: Principal, email: str, *, role: str = Role.MEMBER) -> tuple[Invitation, str]:
    """Invite an address; return the invitation and its token, of which only a hash is stored.

    Earlier open invitations of the address are withdrawn. The result is the same whether or not
    the address has an account. If e-mail is configured, a member's invitation link is sent by
    e-mail only. Such a link, like one created by an operator, proves the address to
    `accept_invitation`.

    Raises:
        NotAllowed: the principal is a member, or an admin who invites an owner.
        Invalid: the address or role is invalid, or the person is already a member.
    """
    principal.require(Role.ADMIN)
    address = clean_email_address(email)
    role = clean_choice(role, Role.values, param="role")
    if role == Role.OWNER:
        principal.require(Role.OWNER)
    token = secrets.token_urlsafe(32)
    now = clock.now()
    with tenant_scope(principal.tenant_id), transaction.atomic():
        if Membership.objects.filter(email=address, removed_at=None).exists():
            raise Invalid(_("This person is already a member."), param="email")
        Invitation.objects.all().open().filter(email=address).update(withdrawn_at=now)
        invitation: Invitation = Invitation.objects.create(
            email=address,
            role=role,
            token_hash=hash_secret(token),
            invited_by=principal.membership,
            expires_at=now + INVITATION_VALIDITY,
            proves_address=principal.membership is None or bool(settings.EMAIL_URL),
        )
        audit.record(
            principal, "invitation.made", address, invitation=str(invitation.pk), role=role
        )
    return invitation, token


def withdraw_invitation(principal: Principal, invitation_id: UUID) -> Invitation:
    """Withdraw an open invitation; an accepted or withdrawn one is unchanged.

    Raises:
        NotAllowed: the principal is a member. NotFound: the id is unknown.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        invitation: Invitation | None = (
            Invitation.objects.select_for_update().filter(pk=invitation_id).first()
        )
        if invitation is None:
            raise NotFound
        if invitation.accepted_at is None and invitation.withdrawn_at is None:
            invitation.withdrawn_at = clock.now()
            invitation.save(update_fields=["withdrawn_at"])
            audit.record(principal, "invitation.withdrawn", invitation.email)
    return invitation


def find_invitation(token: str) -> OpenInvitation:
    """Return the open invitation with this token.

    Raises:
        InvalidInvitation: the token matches no open invitation; the reason is not disclosed.
    """
    for invitation_id, tenant_id in _find_invitation_ids(token):
        with tenant_scope(tenant_id), transaction.atomic():
            tenant = Tenant.objects.filter(suspended_at=None).first()
            found = Invitation.objects.all().open().filter(pk=invitation_id).first()
        if tenant is not None and found is not None:
            return OpenInvitation(
                id=found.pk,
                tenant=tenant,
                email=found.email,
                proves_address=found.proves_address,
            )
    raise InvalidInvitation


def accept_invitation(
    token: str, *, user: User | None, name: str, password: str | None = None
) -> Membership:
    """Accept an invitation as the signed-in `user`, or with a new account if it is None.

    An invitation that proves its address also takes over an existing account whose address is
    unproven: it gets `password`, and all its other credentials are revoked.
    Must run outside any transaction and tenant scope.

    Raises:
        InvalidInvitation: the token is used, withdrawn, expired or unknown. WrongAccount: `user`
        has a different address. SignInRequired: the address has an account that cannot be taken
        over. UnverifiedAddress: the address of `user` is unproven, and another company created
        the account. Invalid: the name or password is invalid.
    """
    invitation = find_invitation(token)
    name = clean_text(name, param="name", most=100)
    if user is None:
        password = clean_password(password, user=User(email=invitation.email))
    elif user.email.lower() != invitation.email:
        raise WrongAccount
    with tenant_scope(invitation.tenant.pk), transaction.atomic():
        locked = Invitation.objects.all().open().select_for_update().filter(pk=invitation.id)
        row: Invitation | None = locked.first()
        if row is None:
            raise InvalidInvitation
        is_taken_over = False
        if user is None:
            user, is_taken_over = _create_or_take_over_account(row, password)
        else:
            user = _lock_joining_account(user)
        membership = add_membership(
            user, role=row.role, name=name, admits_unproven=user.address_proven_at is None
        )
        row.accepted_at = clock.now()
        row.save(update_fields=["accepted_at"])
        actor = Principal(tenant=invitation.tenant, membership=membership, role=membership.role)
        audit.record(actor, "invitation.accepted", row.email, invitation=str(row.pk))
    if is_taken_over:
        revoke_access(user.pk)
    return membership


def _create_or_take_over_account(invitation: Invitation, password: str | None) -> tuple[User, bool]:
    """Return the account for a locked invitation and True if it was taken over, not created."""
    found = User.objects.filter(email=invitation.email).first()
    if found is None:
        proven_at = clock.now() if invitation.proves_address else None
        try:
            with transaction.atomic():
                account = User.objects.create_user(
                    invitation.email, password, address_proven_at=proven_at
                )
        except IntegrityError:
            raise SignInRequired from None
        return account, False
    if not invitation.proves_address or not found.is_active:
        raise SignInRequired
    account = lock_account(found.pk)
    if not prove_address(account, password=password):
        raise SignInRequired
    return account, True


def _lock_joining_account(user: User) -> User:
    """Lock and return the account; an unproven one may rejoin only the company that created it.

    Raises:
        UnverifiedAddress: the account is unproven and was created by another company.
    """
    account = lock_account(user.pk)
    if account.address_proven_at is None:
        made_here = Membership.objects.filter(user=account, admits_unproven=True)
        if not made_here.exists():
            raise UnverifiedAddress
    return account


def _find_invitation_ids(token: str) -> list[tuple[UUID, UUID]]:
    # The token needs no validation: looking up the hash of any string is harmless.
    return [(row[0], row[1]) for row in call_privileged("tenant_of_invitation", hash_secret(token))]
