"""Actions that create and revoke API keys."""

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
# Everything that the member may do: clients written for OpenAI's API do not know scopes.
DEFAULT_SCOPES = ("read", "write", "admin")
_ALPHABET = string.digits + string.ascii_letters
_PREFIX_LENGTH = 8
_SECRET_LENGTH = 40
_CHECKSUM_LENGTH = 6


def create_api_key(
    principal: Principal,
    *,
    name: str,
    member_id: UUID | None = None,
    program: str | None = None,
    scopes: Iterable[str] = DEFAULT_SCOPES,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create an API key; return it and its secret, of which only a hash is stored.

    A key acts as the principal. An owner may also create a key for an existing program
    (`member_id`) or for a new one (named `program`). The holder of a key can read the chats of
    the member it acts for, so a key cannot be created for another person, except on the command
    line, which has full access anyway. A key has the member's permissions, limited to `scopes`.
    A new program gets the role admin if the key has the scope admin.

    Raises:
        NotAllowed: the request uses an API key, the principal may not create a key for this
        member, or a plain member requests the scope act_for_users. NotFound: there is no such
        active member. Invalid: the name, a scope or the expiry date is invalid, or no member is
        given. AccessDenied: the account's credentials were revoked meanwhile. TooManyKeys: the
        member has reached the limit of keys.
    """
    name = clean_text(name, param="name", most=100)
    key_scopes = clean_scopes(scopes)
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid(_("The expiry date must be in the future."), param="expires_at")
    if principal.key is not None:
        raise NotAllowed
    secret = generate_secret()
    with tenant_scope(principal.tenant_id), transaction.atomic():
        _check_account_unchanged(principal)
        if program is not None:
            member = _create_program(principal, program, key_scopes)
        else:
            member = _get_acting_member(principal, member_id or principal.membership_id)
        if (
            ACT_FOR_USERS in key_scopes
            and member.kind == MemberKind.PERSON
            and member.role == "member"
        ):
            raise NotAllowed(_("Only admins and programs can act for users."), param="scopes")
        _check_key_limit(member)
        key: ApiKey = ApiKey.objects.create(
            membership=member,
            name=name,
            prefix=secret[: len(KEY_PREFIX) + _PREFIX_LENGTH],
            secret_hash=hash_secret(secret),
            scopes=key_scopes,
            expires_at=expires_at,
        )
        audit.record(principal, "key.created", name, key=str(key.pk), member=str(member.pk))
    return key, secret


def _check_account_unchanged(principal: Principal) -> None:
    """Refuse a request that began before the account's credentials were revoked.

    The lock serializes the two, so a revocation includes every key created before it.
    """
    user = principal.membership.user if principal.membership else None
    if user is not None and lock_account(user.pk).password != user.password:
        raise AccessDenied


def _check_key_limit(member: Membership) -> None:
    # Serialize key creation per member, so that each count includes the previous key.
    Membership.objects.select_for_update(no_key=True).get(pk=member.pk)
    usable = ApiKey.objects.all().usable(clock.now()).filter(membership=member)
    if usable.count() >= settings.KEYS_PER_MEMBER:
        message = _("{name} has reached the limit of {most} API keys. Revoke a key first.")
        raise TooManyKeys(message.format(name=member.name, most=settings.KEYS_PER_MEMBER))


def _create_program(principal: Principal, name: str, scopes: list[str]) -> Membership:
    # Its key outlives the membership of its creator, and reads the chats of all its users.
    principal.require(Role.OWNER)
    program: Membership = Membership.objects.create(
        kind=MemberKind.PROGRAM,
        name=clean_text(name, param="program", most=100),
        role=Role.ADMIN if "admin" in scopes else Role.MEMBER,
    )
    audit.record(principal, "program.created", program.name, member=str(program.pk))
    return program


def _get_acting_member(principal: Principal, member_id: UUID | None) -> Membership:
    """Return the member that a new key acts for: the principal, or for owners a program."""
    if member_id is None:
        raise Invalid(_("Specify the program that the key acts for."), param="member")
    visible = Membership.objects.all().visible_to(principal).active()
    member: Membership | None = (
        visible.exclude(kind=MemberKind.EXTERNAL).filter(pk=member_id).first()
    )
    if member is None:
        raise NotFound
    if member.pk == principal.membership_id or principal.is_command_line:
        return member
    if member.kind != MemberKind.PROGRAM:
        raise NotAllowed(_("Members can only create API keys for themselves."), param="member")
    if not principal.is_owner:
        raise NotAllowed(_("Only owners can create API keys for a program."), param="member")
    return member


def revoke_api_key(principal: Principal, key_id: UUID) -> ApiKey:
    """Revoke a key permanently.

    Owners may revoke any key of the company, admins all except those of owners, members their
    own.

    Raises:
        NotFound: the key is not visible to the principal.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        visible = ApiKey.objects.all().visible_to(principal).select_for_update()
        key: ApiKey | None = visible.filter(pk=key_id).first()
        if key is None:
            raise NotFound
        if key.revoked_at is None:
            key.revoked_at = clock.now()
            key.save(update_fields=["revoked_at"])
            audit.record(principal, "key.revoked", key.name, key=str(key.pk))
    return key


def record_refused_key(key_id: UUID, tenant_id: UUID) -> None:
    """Record the use of a key without access in the audit log, at most hourly per key.

    The member is disabled or removed, the key revoked or expired, or the company suspended.
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
    """Return the scopes in the order of KEY_SCOPES.

    Raises:
        Invalid: no scope is given, or an unknown one.
    """
    requested = set(scopes)
    unknown = requested - set(KEY_SCOPES)
    if unknown or not requested:
        message = _("Scopes must be one or more of: %s.") % ", ".join(KEY_SCOPES)
        raise Invalid(message, param="scopes")
    return [scope for scope in KEY_SCOPES if scope in requested]


def generate_secret() -> str:
    """Return "atr_", eight random characters safe to display, 40 secret ones and a checksum.

    The checksum lets a secret scanner recognise a key without a request to this server.
    """
    body = "".join(secrets.choice(_ALPHABET) for _index in range(_PREFIX_LENGTH + _SECRET_LENGTH))
    return f"{KEY_PREFIX}{body}{compute_checksum(body)}"


def compute_checksum(body: str) -> str:
    """Return the CRC-32 of `body` in base 62, as six characters."""
    number = zlib.crc32(body.encode())
    digits = []
    for _index in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
