"""Invitations: an address gets a link; whoever proves to be that person joins through it."""

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
from tenants.actions.proof import end_access, lock_account, prove_address
from tenants.authentication import Principal, hash_secret
from tenants.db import call_privileged
from tenants.errors import (
    AddressUnproven,
    Invalid,
    InvitationGone,
    NotFound,
    SignInFirst,
    WrongAccount,
)
from tenants.models import Invitation, Membership, Role, Tenant, User
from tenants.scope import tenant_scope
from tenants.validation import clean_choice, clean_email_address, clean_password, clean_text

VALID_FOR = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class OpenInvitation:
    """What the page of an invitation shows."""

    id: UUID
    tenant: Tenant
    email: str
    proves_address: bool


def invite(principal: Principal, email: str, *, role: str = Role.MEMBER) -> tuple[Invitation, str]:
    """Invite an address and return the invitation with its token, which is kept nowhere.

    Earlier open invitations of the address end. The answer is the same whether or not the
    address has an account. Where mail is set up the link of a member of the company goes by
    mail only; that, and a link of the operator's, proves the address to `accept_invitation`.

    Raises:
        NotAllowed: for members, and for admins who would make an owner. Invalid: for a bad
        address or role, or a member of this company.
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
            raise Invalid(_("This person is a member already."), param="email")
        Invitation.objects.all().open().filter(email=address).update(withdrawn_at=now)
        invitation: Invitation = Invitation.objects.create(
            email=address,
            role=role,
            token_hash=hash_secret(token),
            invited_by=principal.membership,
            expires_at=now + VALID_FOR,
            proves_address=principal.membership is None or bool(settings.EMAIL_URL),
        )
        audit.record(
            principal, "invitation.made", address, invitation=str(invitation.pk), role=role
        )
    return invitation, token


def withdraw_invitation(principal: Principal, invitation_id: UUID) -> Invitation:
    """End an open invitation; one that has ended already stays as it is.

    Raises:
        NotAllowed: for members. NotFound: for an unknown id.
    """
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        found: Invitation | None = (
            Invitation.objects.select_for_update().filter(pk=invitation_id).first()
        )
        if found is None:
            raise NotFound
        if found.accepted_at is None and found.withdrawn_at is None:
            found.withdrawn_at = clock.now()
            found.save(update_fields=["withdrawn_at"])
            audit.record(principal, "invitation.withdrawn", found.email)
    return found


def find_invitation(token: str) -> OpenInvitation:
    """Return what an open invitation says.

    Raises:
        InvitationGone: for any other token; why is not told.
    """
    for invitation_id, tenant_id in _door(token):
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
    raise InvitationGone


def accept_invitation(
    token: str, *, user: User | None, name: str, password: str | None = None
) -> Membership:
    """Join through an invitation: as `user` who is signed in, else with a new account.

    An invitation that proves its address also takes over an account of that address that has
    no proof yet: `password` becomes its own, and all other credentials end.
    Must run outside any transaction and scope.

    Raises:
        InvitationGone: for a used, withdrawn, expired or unknown token. WrongAccount: when
        `user` has another address. SignInFirst: when a new account cannot be made.
        AddressUnproven: when `user` has no proven address and another company made the
        account. Invalid: for a bad name or password.
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
            raise InvitationGone
        is_taken_over = False
        if user is None:
            user, is_taken_over = _take_account(row, password)
        else:
            user = _lock_joining(user)
        membership = add_membership(
            user, role=row.role, name=name, admits_unproven=user.address_proven_at is None
        )
        row.accepted_at = clock.now()
        row.save(update_fields=["accepted_at"])
        actor = Principal(tenant=invitation.tenant, membership=membership, role=membership.role)
        audit.record(actor, "invitation.accepted", row.email, invitation=str(row.pk))
    if is_taken_over:
        end_access(user.pk)
    return membership


def _take_account(invitation: Invitation, password: str | None) -> tuple[User, bool]:
    """Return the new account of a locked invitation, or the one taken over, and which it is."""
    found = User.objects.filter(email=invitation.email).first()
    if found is None:
        proven_at = clock.now() if invitation.proves_address else None
        try:
            with transaction.atomic():
                made = User.objects.create_user(
                    invitation.email, password, address_proven_at=proven_at
                )
        except IntegrityError:
            raise SignInFirst from None
        return made, False
    if not invitation.proves_address or not found.is_active:
        raise SignInFirst
    account = lock_account(found.pk)
    if not prove_address(account, password=password):
        raise SignInFirst
    return account, True


def _lock_joining(user: User) -> User:
    """Return a signed-in account as it is now; one without proof joins who made it only."""
    account = lock_account(user.pk)
    if account.address_proven_at is None:
        made_here = Membership.objects.filter(user=account, admits_unproven=True)
        if not made_here.exists():
            raise AddressUnproven
    return account


def _door(token: str) -> list[tuple[UUID, UUID]]:
    # The hash of any string is harmless to ask for, a malformed token's too.
    return [(row[0], row[1]) for row in call_privileged("tenant_of_invitation", hash_secret(token))]
