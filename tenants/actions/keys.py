"""API keys: made, shown once, revoked."""

from __future__ import annotations

import secrets
import string
import zlib
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.actions.proof import lock_account
from tenants.authentication import KEY_PREFIX, Principal, hash_secret
from tenants.errors import AccessDenied, Invalid, NotAllowed, NotFound, TooManyKeys
from tenants.models import ACT_FOR_USERS, ApiKey, AuditEvent, MemberKind, Membership, Role
from tenants.scope import tenant_scope
from tenants.validation import clean_text

KEY_SCOPES = ("read", "write", "admin", ACT_FOR_USERS)
# All that the member may do themselves: programs written for another server know no scopes.
DEFAULT_SCOPES = ("read", "write", "admin")
_ALPHABET = string.digits + string.ascii_letters
_SHOWN = 8
_SECRET = 40
_CHECKSUM = 6


def create_api_key(
    principal: Principal,
    *,
    name: str,
    member_id: UUID | None = None,
    program: str | None = None,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its secret, which is kept nowhere.

    A key acts as oneself, or, made by an owner, as a program that is there (`member_id`) or
    as a new one (named `program`): whoever holds a key reads the chats of whom it acts for,
    so nobody makes one for another person; the command line, which reads everything anyway,
    may. It can do what they can do, narrowed by `scopes`; a new program is an admin where the
    key has that scope.

    Raises:
        NotAllowed, NotFound, and Invalid: for a bad name, scope or date. TooManyKeys: when
        as many keys act for this member as may.
    """
    name = clean_text(name, param="name", most=100)
    kept = clean_scopes(scopes)
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid(_("This moment has passed."), param="expires_at")
    if principal.key is not None:
        raise NotAllowed
    secret = new_secret()
    with tenant_scope(principal.tenant_id), transaction.atomic():
        _check_account_unchanged(principal)
        if program is not None:
            member = _new_program(principal, program, kept)
        else:
            member = _acting_member(principal, member_id or principal.membership_id)
        if ACT_FOR_USERS in kept and member.kind == MemberKind.PERSON and member.role == "member":
            raise NotAllowed(_("Only admins and programs may act for users."), param="scopes")
        _check_room(member)
        key: ApiKey = ApiKey.objects.create(
            membership=member,
            name=name,
            prefix=secret[: len(KEY_PREFIX) + _SHOWN],
            secret_hash=hash_secret(secret),
            scopes=kept,
            expires_at=expires_at,
        )
        audit.record(principal, "key.created", name, key=str(key.pk), member=str(member.pk))
    return key, secret


def _check_account_unchanged(principal: Principal) -> None:
    """Refuse a request that began before the account's credentials ended.

    The lock makes the two wait for each other: what ends them sees every key made before.
    """
    user = principal.membership.user if principal.membership else None
    if user is not None and lock_account(user.pk).password != user.password:
        raise AccessDenied


def _check_room(member: Membership) -> None:
    # One key of a member at a time: the next one counts it.
    Membership.objects.select_for_update(no_key=True).get(pk=member.pk)
    usable = ApiKey.objects.all().usable(clock.now()).filter(membership=member)
    if usable.count() >= settings.KEYS_PER_MEMBER:
        message = _("{name} has {most} keys, as many as there may be: revoke one first.")
        raise TooManyKeys(message.format(name=member.name, most=settings.KEYS_PER_MEMBER))


def _new_program(principal: Principal, name: str, scopes: list[str]) -> Membership:
    # Its key outlives whoever made it, and opens the chats of all its users.
    principal.require(Role.OWNER)
    made: Membership = Membership.objects.create(
        kind=MemberKind.PROGRAM,
        name=clean_text(name, param="program", most=100),
        role=Role.ADMIN if "admin" in scopes else Role.MEMBER,
    )
    audit.record(principal, "program.created", made.name, member=str(made.pk))
    return made


def _acting_member(principal: Principal, member_id: UUID | None) -> Membership:
    """Return whom a key may act for: oneself, or for owners a program."""
    if member_id is None:
        raise Invalid(_("Name the program that the key acts for."), param="member")
    visible = Membership.objects.all().for_principal(principal).active()
    member: Membership | None = (
        visible.exclude(kind=MemberKind.EXTERNAL).filter(pk=member_id).first()
    )
    if member is None:
        raise NotFound
    if member.pk == principal.membership_id or principal.is_command_line:
        return member
    if member.kind != MemberKind.PROGRAM:
        raise NotAllowed(_("A key for a person is made by themselves."), param="member")
    if not principal.is_owner:
        raise NotAllowed(_("A key for a program is made by an owner."), param="member")
    return member


def revoke_api_key(principal: Principal, key_id: UUID) -> ApiKey:
    """End a key for good; owners any of the company, admins all but owners', others their own.

    Raises:
        NotFound: for a key that is not theirs to see.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        visible = ApiKey.objects.all().for_principal(principal).select_for_update()
        key: ApiKey | None = visible.filter(pk=key_id).first()
        if key is None:
            raise NotFound
        if key.revoked_at is None:
            key.revoked_at = clock.now()
            key.save(update_fields=["revoked_at"])
            audit.record(principal, "key.revoked", key.name, key=str(key.pk))
    return key


def record_refused_key(key_id: UUID, tenant_id: UUID) -> None:
    """Record that somebody still uses a key that opens nothing, once an hour for each key.

    Its member may be disabled or gone, the key revoked or expired, the company suspended.
    """
    if not cache.add(f"key-refused:{key_id}", True, timeout=3600):
        return
    with tenant_scope(tenant_id), transaction.atomic():
        key = ApiKey.objects.filter(pk=key_id).first()
        if key is not None:
            AuditEvent.objects.create(
                actor="unknown",
                action="key.refused",
                subject=key.name,
                data={"key": str(key.pk), "member": str(key.membership_id)},
            )


def clean_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the scopes in their own order; raises Invalid for none or an unknown one."""
    asked = set(scopes)
    unknown = sorted(asked - set(KEY_SCOPES))
    if unknown or not asked:
        message = _("A key's scopes are some of: %s.") % ", ".join(KEY_SCOPES)
        raise Invalid(message, param="scopes")
    return [scope for scope in KEY_SCOPES if scope in asked]


def new_secret() -> str:
    """Return "atr_", eight characters that may be shown, 40 random ones and a checksum.

    The checksum lets a secret scanner tell a key from noise without asking us.
    """
    body = "".join(secrets.choice(_ALPHABET) for _place in range(_SHOWN + _SECRET))
    return f"{KEY_PREFIX}{body}{checksum(body)}"


def checksum(body: str) -> str:
    """Return the CRC-32 of the middle part in base 62, six characters."""
    number = zlib.crc32(body.encode())
    digits = []
    for _place in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
