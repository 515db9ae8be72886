"""Invitations: an address gets a link; whoever proves to be that person joins through it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.access import Principal, hash_secret
from tenants.actions.people import add_membership
from tenants.clean import clean_choice, clean_email_address, clean_password, clean_text
from tenants.db import call_door
from tenants.errors import Invalid, InvitationGone, NotFound, SignInFirst, WrongAccount
from tenants.models import Invitation, Membership, Role, Tenant, User
from tenants.scope import tenant_scope

VALID_FOR = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class OpenInvitation:
    """What the page of an invitation shows."""

    id: UUID
    tenant: Tenant
    email: str


def invite(principal: Principal, email: str, *, role: str = Role.MEMBER) -> tuple[Invitation, str]:
    """Invite an address and return the invitation with its token, which is kept nowhere.

    Earlier open invitations of the address end. The answer is the same whether or not the
    address has an account.

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
            return OpenInvitation(id=found.pk, tenant=tenant, email=found.email)
    raise InvitationGone


def accept_invitation(
    token: str, *, user: User | None, name: str, password: str | None = None
) -> Membership:
    """Join through an invitation: as `user` who is signed in, else with a new account.

    Raises:
        InvitationGone: for a used, withdrawn, expired or unknown token. WrongAccount: when
        `user` has another address. SignInFirst: when a new account cannot be made.
        Invalid: for a bad name or password.
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
        if user is None:
            user = _new_user(row.email, password)
        membership = add_membership(user, role=row.role, name=name)
        row.accepted_at = clock.now()
        row.save(update_fields=["accepted_at"])
        actor = Principal(tenant=invitation.tenant, membership=membership, role=membership.role)
        audit.record(actor, "invitation.accepted", row.email, invitation=str(row.pk))
    return membership


def _new_user(address: str, password: str | None) -> User:
    if User.objects.filter(email=address).exists():
        raise SignInFirst
    try:
        with transaction.atomic():
            return User.objects.create_user(address, password)
    except IntegrityError:
        raise SignInFirst from None


def _door(token: str) -> list[tuple[UUID, UUID]]:
    # The hash of any string is harmless to ask for, a malformed token's too.
    return [(row[0], row[1]) for row in call_door("tenant_of_invitation", hash_secret(token))]
