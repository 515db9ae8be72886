"""Actions on memberships: join, change roles, disable, remove, and edit one's profile."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.actions.proof import revoke_unproven_credentials
from tenants.authentication import Principal
from tenants.errors import EditConflict, Invalid, LastOwner, NotAllowed, NotFound
from tenants.models import (
    ACT_FOR_USERS,
    ApiKey,
    Invitation,
    MemberKind,
    Membership,
    Role,
    Tenant,
    User,
)
from tenants.scope import tenant_scope
from tenants.validation import (
    clean_choice,
    clean_email_address,
    clean_language,
    clean_password,
    clean_text,
    clean_zone,
)


def add_member(
    principal: Principal,
    email: str,
    *,
    role: str = Role.MEMBER,
    name: str | None = None,
    password: str | None = None,
) -> tuple[Membership, bool]:
    """Add a person to the company without an invitation; return True if the account is new.

    For operators and the command line; admins invite. An existing account keeps its password if
    its address is proven. Otherwise its credentials are revoked, and the person can sign in
    after using a password link from the operator. A new account without `password` gets one
    through such a link, too. Must run outside any transaction and tenant scope.

    Raises:
        NotAllowed: the principal is a member of the company. Invalid: the address, role, name
        or password is invalid, a password is given for an existing account, or the person is
        already a member.
    """
    if principal.membership is not None:
        raise NotAllowed
    address = clean_email_address(email)
    role = clean_choice(role, Role.values, param="role")
    name = clean_text(name or address.partition("@")[0], param="name", most=100)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        # Checked first: a refused request must not revoke credentials.
        if Membership.objects.filter(user__email=address, removed_at=None).exists():
            raise _build_member_error(address)
    user, created = get_or_create_trusted_account(address, password)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        membership = add_membership(user, role=role, name=name)
        audit.record(principal, "member.joined", name, member=str(membership.pk), role=role)
    return membership, created


def get_or_create_trusted_account(address: str, password: str | None) -> tuple[User, bool]:
    """Return the account of a validated address, safe to grant access, and True if it is new.

    An existing account with an unproven address loses its credentials first. Must run outside
    any transaction and tenant scope.

    Raises:
        Invalid: the password is invalid, or one is given for an existing account.
    """
    user, created = get_or_create_user(address, password)
    if not created and revoke_unproven_credentials(user.pk):
        user.refresh_from_db()
    return user, created


def get_or_create_user(address: str, password: str | None) -> tuple[User, bool]:
    """Return the account of a validated address and True if it is new.

    The address of a new account counts as proven.

    Raises:
        Invalid: the password is invalid, or one is given for an existing account.
    """
    found = User.objects.filter(email=address).first()
    if found is None:
        if password is not None:
            password = clean_password(password, user=User(email=address))
        try:
            with transaction.atomic():
                return User.objects.create_user(address, password), True
        except IntegrityError:
            found = User.objects.get(email=address)
    if password is not None:
        message = _("An account with the address %s already exists. Leave out the password.")
        raise Invalid(message % address, param="password")
    return found, False


def add_membership(
    user: User, *, role: str, name: str, admits_unproven: bool = False
) -> Membership:
    """Create or restore the membership of `user`. Call within a tenant transaction.

    `admits_unproven` grants access without a proven address; a restored membership keeps its
    former value.

    Raises:
        Invalid: the user is already a member.
    """
    # The lock on the account serializes concurrent joins of one person.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    former: Membership | None = Membership.objects.filter(user=user).first()
    if former is None:
        membership: Membership = Membership.objects.create(
            user=user, role=role, name=name, email=user.email, admits_unproven=admits_unproven
        )
        return membership
    if former.removed_at is None:
        raise _build_member_error(user.email)
    former.role, former.name, former.email = role, name, user.email
    former.removed_at = former.disabled_at = None
    former.created_at = clock.now()
    former.save()
    return former


def _build_member_error(address: str) -> Invalid:
    return Invalid(_("%s is already a member.") % address, param="email")


def change_role(
    principal: Principal, member_id: UUID, *, role: str, version: int | None = None
) -> Membership:
    """Change a member's role; if `version` is given, it must be the current version.

    Raises:
        NotAllowed: the principal is a member, or an admin and the old or new role is owner.
        NotFound: the id is unknown. Invalid: the role is unknown or does not fit the kind of
        member. LastOwner: the company would have no owner. EditConflict: `version` is not
        the current version.
    """
    role = clean_choice(role, Role.values, param="role")
    if role == Role.OWNER:
        principal.require(Role.OWNER)
    return _change_member(principal, member_id, "member.role", version=version, role=role)


def disable_member(principal: Principal, member_id: UUID) -> Membership:
    """Revoke a member's access until `enable_member`; raises like `change_role`."""
    return _change_member(principal, member_id, "member.disabled", disabled_at=clock.now())


def enable_member(principal: Principal, member_id: UUID) -> Membership:
    """Restore the access of a disabled member; raises like `change_role`."""
    return _change_member(principal, member_id, "member.enabled", disabled_at=None)


def remove_member(principal: Principal, member_id: UUID) -> Membership:
    """Remove a member and revoke their keys; the chats are kept. Raises like `change_role`."""
    now = clock.now()
    return _change_member(principal, member_id, "member.removed", removed_at=now, signed_out_at=now)


def sign_out_member(principal: Principal, member_id: UUID) -> Membership:
    """End a member's sessions in this company only; raises like `change_role`."""
    return _change_member(principal, member_id, "member.signed_out", signed_out_at=clock.now())


def update_profile(principal: Principal, *, name: str, language: str, zone: str) -> Membership:
    """Change the principal's own name, language and time zone in this company.

    Raises:
        NotAllowed: the principal has no membership. Invalid: the name, language or time zone
        is invalid.
    """
    if principal.membership is None:
        raise NotAllowed
    changed = {
        "name": clean_text(name, param="name", most=100),
        "language": clean_language(language),
        "zone": clean_zone(zone),
    }
    with tenant_scope(principal.tenant_id), transaction.atomic():
        locked = Membership.objects.select_for_update(no_key=True)
        found: Membership = locked.get(pk=principal.membership_id)
        fields = [name for name, value in changed.items() if getattr(found, name) != value]
        for name in fields:
            setattr(found, name, changed[name])
        if fields:
            found.save(update_fields=fields)
            audit.record(
                principal, "profile.changed", found.name, member=str(found.pk), fields=fields
            )
        return found


def _change_member(
    principal: Principal,
    member_id: UUID,
    action: str,
    *,
    version: int | None = None,
    **changes: Any,
) -> Membership:
    """Apply `changes` to a member, under the lock that protects the last owner."""
    principal.require(Role.ADMIN)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        # Lock the tenant first: locking the owners in order is not enough, as the set of owners
        # may change between two requests.
        Tenant.objects.select_for_update(no_key=True).get()
        owners = list(Membership.objects.all().owners_locked())
        visible = Membership.objects.all().visible_to(principal).select_for_update(no_key=True)
        member: Membership | None = visible.filter(pk=member_id).first()
        if member is None:
            raise NotFound
        EditConflict.check(member, version)
        if member.role == Role.OWNER:
            principal.require(Role.OWNER)
        if _is_ownership_removed(changes) and owners == [member]:
            raise LastOwner
        _check_role(member, changes)
        for name, value in changes.items():
            setattr(member, name, value)
        member.save(update_fields=list(changes))
        _withdraw_excess_invitations(member)
        _revoke_excess_keys(member)
        details = {"role": changes["role"]} if "role" in changes else {}
        audit.record(principal, action, member.name, member=str(member.pk), **details)
    return member


def _withdraw_excess_invitations(member: Membership) -> None:
    """Withdraw invitations that the member may no longer send, as they could be a way back in."""
    invitations = Invitation.objects.all().open().filter(invited_by=member)
    if member.is_active and member.role == Role.ADMIN:
        invitations = invitations.filter(role=Role.OWNER)
    elif member.is_active and member.role == Role.OWNER:
        return
    invitations.update(withdrawn_at=clock.now())


def _revoke_excess_keys(member: Membership) -> None:
    """Revoke the keys that the member may no longer create."""
    keys = ApiKey.objects.filter(membership=member, revoked_at=None)
    if member.removed_at is None:
        if member.kind == MemberKind.PROGRAM or member.role != Role.MEMBER:
            return
        keys = keys.filter(scopes__contains=[ACT_FOR_USERS])
    # Revoked, not just unusable: a restored membership must not revive old keys.
    keys.update(revoked_at=clock.now())


def _check_role(member: Membership, changes: dict[str, Any]) -> None:
    fits: dict[str, list[str]] = {
        MemberKind.PERSON: Role.values,
        MemberKind.PROGRAM: [Role.MEMBER, Role.ADMIN],
        MemberKind.EXTERNAL: [Role.MEMBER],
    }
    if changes.get("role", member.role) not in fits[member.kind]:
        raise Invalid(_("This kind of member cannot have this role."), param="role")


def _is_ownership_removed(changes: dict[str, Any]) -> bool:
    if "role" in changes:
        return bool(changes["role"] != Role.OWNER)
    return bool(changes.get("disabled_at") or changes.get("removed_at"))
