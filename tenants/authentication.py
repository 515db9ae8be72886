"""Authentication: resolve a session or an API key to a Principal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime

from tenants import clock
from tenants.compiled_queries import CompiledQuery
from tenants.db import call_privileged
from tenants.errors import InvalidApiKey, NotAllowed, NotFound, SecondFactorRequired, UserDisabled
from tenants.models import ApiKey, Membership, Role, Tenant
from tenants.scope import tenant_scope

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

    from tenants.models import User

KEY_PREFIX = "atr_"
KEY_USE_INTERVAL_SECONDS = 60.0  # between two writes of a key's `last_used_at`
MAX_CACHED_KEYS = 10_000
_key_locations: dict[str, tuple[Any, ...]] = {}  # (key, tenant) by the hash of the secret
SESSION_MEMBERSHIP = "membership"
SESSION_OPERATED_TENANT = "operated_tenant"
SESSION_COMPANY_ONLY = "company_only"


@dataclass(frozen=True, kw_only=True)
class SessionLimit:
    """The limit of a sign-in without the account's second factor: one membership only.

    While `must_set_up` is set, only the page that sets up a new second factor is accessible.
    """

    membership_id: UUID
    must_set_up: bool = False

    @classmethod
    def from_session(cls, session: SessionBase) -> SessionLimit | None:
        """Return the limit of a session, or None if it gives access to the whole account."""
        stored = session.get(SESSION_COMPANY_ONLY)
        if not stored:
            return None
        return cls(membership_id=UUID(stored["id"]), must_set_up=stored["must_set_up"])

    def store(self, session: SessionBase) -> None:
        """Apply this limit to a session."""
        session[SESSION_COMPANY_ONLY] = {
            "id": str(self.membership_id),
            "must_set_up": self.must_set_up,
        }


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The authenticated actor and its tenant.

    Constructed only in this module; never derived from client or model input. `membership` is
    None for an operator inside a tenant and for the command line; `key` is set for programs.
    """

    tenant: Tenant
    membership: Membership | None
    role: str
    key: ApiKey | None = None
    operator: User | None = None

    @property
    def tenant_id(self) -> UUID:
        """The tenant's id."""
        return self.tenant.pk

    @property
    def membership_id(self) -> UUID | None:
        """The membership's id, None for an operator."""
        return self.membership.pk if self.membership else None

    @property
    def key_id(self) -> UUID | None:
        """The API key's id, None for people."""
        return self.key.pk if self.key else None

    @property
    def is_admin(self) -> bool:
        """True for admins and owners (and an operator inside the tenant)."""
        return self.role in (Role.ADMIN, Role.OWNER)

    @property
    def is_owner(self) -> bool:
        """True for owners (and an operator inside the tenant)."""
        return self.role == Role.OWNER

    @property
    def is_command_line(self) -> bool:
        """True for management commands."""
        return self.membership is None and self.operator is None

    @property
    def label(self) -> str:
        """Name of the actor in the audit log."""
        if self.operator is not None:
            return f"operator {self.operator.email}"
        name = self.membership.name if self.membership else "command line"
        return f"{name} (key {self.key.prefix}…)" if self.key else name

    def has_scope(self, scope: str) -> bool:
        """Return True if the key has this scope; without a key, every scope is allowed."""
        return self.key is None or scope in self.key.scopes

    def require(self, role: str) -> None:
        """Check that the principal has at least `role`.

        Raises:
            NotAllowed: The principal's role is lower.
        """
        allowed = {Role.ADMIN: self.is_admin, Role.OWNER: self.is_owner}.get(Role(role), True)
        if not allowed:
            raise NotAllowed()


def hash_secret(secret: str) -> str:
    """Return the hex SHA-256 of a high-entropy secret, as stored for keys and invitations."""
    return hashlib.sha256(secret.encode()).hexdigest()


def list_memberships(user: User) -> list[Membership]:
    """Return the memberships that `user` can choose from, with tenants, by tenant name.

    Must run outside any scope and transaction, because each tenant is read in its own.
    """
    rows = call_privileged("memberships_of", user.pk)
    memberships = []
    for membership_id, tenant_id in rows:
        with tenant_scope(tenant_id), transaction.atomic():
            membership = _get_active_membership(membership_id)
            if membership is not None and _is_admitted(membership):
                memberships.append(membership)
    return sorted(memberships, key=lambda membership: membership.tenant.name)


def list_session_memberships(user: User, session: SessionBase) -> list[Membership]:
    """Return the memberships that this session can use; call it like `list_memberships`."""
    limit = SessionLimit.from_session(session)
    memberships = list_memberships(user)
    return [
        membership
        for membership in memberships
        if limit is None or membership.pk == limit.membership_id
    ]


def has_full_access(session: SessionBase) -> bool:
    """Return True if the sign-in completed every factor that the account requires."""
    return SessionLimit.from_session(session) is None


def choose_membership(session: SessionBase, membership: Membership) -> None:
    """Make `membership` the active one of this session until an explicit switch.

    Raises:
        SecondFactorRequired: The session is limited to another company.
    """
    limit = SessionLimit.from_session(session)
    if limit is not None and limit.membership_id != membership.pk:
        raise SecondFactorRequired
    session.pop(SESSION_OPERATED_TENANT, None)
    session[SESSION_MEMBERSHIP] = {
        "id": str(membership.pk),
        "tenant": str(membership.tenant_id),
        "at": clock.now().isoformat(),
    }


def get_session_principal(user: Any, session: SessionBase) -> Principal | None:
    """Return the principal of a browser session, or None if it has no active membership.

    Checked against the database on each call, so a suspended tenant, a removed or disabled
    membership or a sign-out by an admin ends access immediately.
    """
    if not user.is_authenticated or not user.is_active:
        return None
    limit = SessionLimit.from_session(session)
    operated = session.get(SESSION_OPERATED_TENANT)
    if operated and user.is_operator and limit is None:
        return get_operator_principal(user, UUID(operated))
    chosen = session.get(SESSION_MEMBERSHIP)
    if not chosen:
        return None
    if limit is not None and (limit.must_set_up or chosen["id"] != str(limit.membership_id)):
        return None
    tenant_id, since = UUID(chosen["tenant"]), parse_datetime(chosen["at"])
    with tenant_scope(tenant_id), transaction.atomic():
        membership = _get_active_membership(UUID(chosen["id"]))
    if membership is None or membership.user_id != user.pk:
        return None
    return _build_principal(membership, since=since)


def authenticate_key(secret: str) -> Principal:
    """Return the principal of an API key's secret.

    Raises:
        InvalidApiKey: The key is unknown, revoked or expired, its membership or account is no
            longer active, or its tenant is suspended. The reason is not disclosed.
    """
    hashed, refusal = hash_secret(secret), InvalidApiKey()
    for key_id, tenant_id in _get_key_location(hashed) if secret.startswith(KEY_PREFIX) else ():
        with tenant_scope(tenant_id), transaction.atomic():
            now = clock.now()
            key = _usable_key.first(key_id=key_id, secret_hash=hashed, now=now)
            if key is None or not _is_usable(key.membership):
                refusal.place = (key_id, tenant_id)
                break
            if (
                key.last_used_at is None
                or (now - key.last_used_at).total_seconds() > KEY_USE_INTERVAL_SECONDS
            ):
                ApiKey.objects.filter(pk=key_id).update(last_used_at=now)
        membership = key.membership
        return Principal(
            tenant=membership.tenant, membership=membership, role=membership.role, key=key
        )
    raise refusal


def _get_key_location(hashed: str) -> list[tuple[Any, ...]]:
    """Return the ids of the key with this hash and of its tenant, or an empty list.

    Neither changes, so both are cached. Whether the key is usable is read from its row each time.
    """
    place = _key_locations.get(hashed)
    if place is None:
        rows = call_privileged("tenant_of_key", hashed)
        if not rows:
            return []
        if len(_key_locations) >= MAX_CACHED_KEYS:
            _key_locations.clear()
        [place] = rows
        _key_locations[hashed] = place
    return [place]


def build_external_principal(principal: Principal, membership: Membership) -> Principal:
    """Return the principal of a program's external user; the credential is the program's key.

    Raises:
        UserDisabled: The user belongs to another program, or was disabled or removed by an admin.
    """
    if membership.sponsor_id != principal.membership_id or not membership.is_active:
        raise UserDisabled
    return Principal(
        tenant=principal.tenant, membership=membership, role=membership.role, key=principal.key
    )


def get_run_principal(
    tenant_id: UUID, membership_id: UUID, key_id: UUID | None
) -> Principal | None:
    """Return the current principal of a run, or None if its access has ended.

    Must run inside the tenant's scope and a transaction.
    """
    membership = _get_active_membership(membership_id)
    if membership is None or membership.tenant_id != tenant_id or not _is_usable(membership):
        return None
    key = None
    if key_id is not None:
        key = ApiKey.objects.usable(clock.now()).filter(pk=key_id).first()
        if key is None or key.membership_id not in (membership.pk, membership.sponsor_id):
            return None
    return Principal(tenant=membership.tenant, membership=membership, role=membership.role, key=key)


def get_operator_principal(user: User, tenant_id: UUID) -> Principal | None:
    """Return the principal of an operator inside a tenant, or None if there is no such tenant."""
    with tenant_scope(tenant_id), transaction.atomic():
        tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        return None
    return Principal(tenant=tenant, membership=None, role=Role.OWNER, operator=user)


def get_console_principal(slug: str) -> Principal:
    """Return the principal of a management command inside one tenant.

    Raises:
        NotFound: No tenant has this short name.
    """
    for (tenant_id,) in call_privileged("tenant_of_slug", slug):
        with tenant_scope(tenant_id), transaction.atomic():
            return Principal(tenant=Tenant.objects.get(), membership=None, role=Role.OWNER)
    raise NotFound(f"No company has the short name {slug}.")


def _is_usable(membership: Membership) -> bool:
    """Return True if programs and runs may act for a member, with any credential."""
    if membership.tenant.suspended_at is not None or not _is_present(membership):
        return False
    return membership.sponsor is None or _is_present(membership.sponsor)


def _is_present(membership: Membership) -> bool:
    return membership.is_active and membership.is_open_to_account


def _is_admitted(membership: Membership) -> bool:
    """Return True if the account of an active membership may act in its company."""
    return membership.tenant.suspended_at is None and membership.is_open_to_account


@CompiledQuery
def _usable_key(*, key_id: Any, secret_hash: Any, now: Any) -> QuerySet[ApiKey]:
    rows: QuerySet[ApiKey] = ApiKey.objects.usable(now)
    return rows.select_related("membership__tenant", "membership__user").filter(
        pk=key_id, secret_hash=secret_hash
    )


def _get_active_membership(membership_id: UUID) -> Membership | None:
    return _membership.first(membership_id=membership_id)


@CompiledQuery
def _membership(*, membership_id: Any) -> QuerySet[Membership]:
    rows: QuerySet[Membership] = Membership.objects.active()
    return rows.select_related("tenant", "user", "sponsor__user").filter(pk=membership_id)


def _build_principal(membership: Membership, *, since: datetime | None) -> Principal | None:
    if since is None or not _is_admitted(membership):
        return None
    if membership.signed_out_at is not None and membership.signed_out_at > since:
        return None
    return Principal(tenant=membership.tenant, membership=membership, role=membership.role)
