"""Actions that create, configure, suspend and enter tenants."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from tenants import audit
from tenants.actions.reading import change_reading_period
from tenants.authentication import (
    SESSION_OPERATED_TENANT,
    Principal,
    get_operator_principal,
    has_full_access,
)
from tenants.errors import EditConflict, Invalid, NotAllowed, NotFound
from tenants.models import Role, Tenant
from tenants.scope import tenant_scope
from tenants.validation import clean_color, clean_slug, clean_text

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

    from tenants.models import User


def create_tenant(
    operator: User | None, slug: str, *, name: str, color: str | None = None
) -> Tenant:
    """Create a company; `operator` is None on the command line.

    Raises:
        Invalid: the short name is malformed or taken, the name is empty, or the colour is
        invalid.
    """
    tenant = Tenant(
        id=uuid.uuid4(),
        slug=clean_slug(slug),
        name=clean_text(name, param="name", most=100),
    )
    if color is not None:
        tenant.color = clean_color(color)
    actor = Principal(tenant=tenant, membership=None, role=Role.OWNER, operator=operator)
    try:
        with tenant_scope(tenant.pk), transaction.atomic():
            tenant.save(force_insert=True)
            audit.record(actor, "tenant.created", tenant.slug)
    except IntegrityError:
        message = _("A company with the short name %s already exists.") % tenant.slug
        raise Invalid(message, param="slug") from None
    return tenant


def update_tenant_settings(
    principal: Principal,
    *,
    name: str | None = None,
    color: str | None = None,
    admins_read_threads: bool | None = None,
    version: int | None = None,
) -> Tenant:
    """Change the company's settings; a setting that is None is kept.

    If `version` is given, it must be the current version. Only an owner may change whether
    admins can read members' chats. This setting is also stored as periods, so that members are
    notified whenever reading access begins or ends.

    Raises:
        NotAllowed: the principal is a member, or an admin who changes `admins_read_threads`.
        Invalid: the name or colour is invalid.
        EditConflict: `version` is not the current version.
    """
    principal.require(Role.ADMIN)
    changed: dict[str, object] = {}
    if name is not None:
        changed["name"] = clean_text(name, param="name", most=100)
    if color is not None:
        changed["color"] = clean_color(color)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        tenant = Tenant.objects.select_for_update(no_key=True).get()
        EditConflict.check(tenant, version)
        if admins_read_threads is not None and admins_read_threads != tenant.admins_read_threads:
            principal.require(Role.OWNER)
            changed["admins_read_threads"] = admins_read_threads
            change_reading_period(principal, is_open=admins_read_threads)
        changed = {key: value for key, value in changed.items() if getattr(tenant, key) != value}
        for key, value in changed.items():
            setattr(tenant, key, value)
        if changed:
            tenant.save()
            audit.record(principal, "tenant.changed", tenant.slug, **changed)
    return tenant


def suspend_tenant(operator: User, tenant_id: UUID) -> Tenant:
    """Suspend a company: its members lose access, no data is deleted.

    Raises:
        NotAllowed: the user is not an operator. NotFound: the id is unknown.
    """
    return _set_suspended(operator, tenant_id, suspended=True)


def resume_tenant(operator: User, tenant_id: UUID) -> Tenant:
    """Resume a suspended company; raises like `suspend_tenant`."""
    return _set_suspended(operator, tenant_id, suspended=False)


def enter_tenant(operator: User, session: SessionBase, tenant_id: UUID) -> Principal:
    """Let the operator act inside a company until `leave_tenant`; the audit log records it.

    Raises:
        NotAllowed: the user is not an operator, or the session is limited to one company.
        NotFound: the id is unknown.
    """
    if not has_full_access(session):
        raise NotAllowed
    principal = _build_operator_principal(operator, tenant_id)
    with tenant_scope(tenant_id), transaction.atomic():
        audit.record(principal, "operator.entered", principal.tenant.slug)
    session[SESSION_OPERATED_TENANT] = str(tenant_id)
    session.cycle_key()
    return principal


def leave_tenant(operator: User, session: SessionBase) -> None:
    """Leave the company entered with `enter_tenant`; do nothing outside any company.

    Raises:
        NotAllowed: the user is not an operator. NotFound: the company no longer exists.
    """
    entered = session.pop(SESSION_OPERATED_TENANT, None)
    if entered is None:
        return
    # Rotating the session key closes the websockets of the company just left.
    session.cycle_key()
    principal = _build_operator_principal(operator, UUID(entered))
    with tenant_scope(principal.tenant_id), transaction.atomic():
        audit.record(principal, "operator.left", principal.tenant.slug)


def _build_operator_principal(operator: User, tenant_id: UUID) -> Principal:
    if not operator.is_operator:
        raise NotAllowed
    principal = get_operator_principal(operator, tenant_id)
    if principal is None:
        raise NotFound
    return principal


def _set_suspended(operator: User, tenant_id: UUID, *, suspended: bool) -> Tenant:
    principal = _build_operator_principal(operator, tenant_id)
    with tenant_scope(tenant_id), transaction.atomic():
        tenant = Tenant.objects.select_for_update(no_key=True).get()
        if (tenant.suspended_at is not None) != suspended:
            tenant.suspended_at = timezone.now() if suspended else None
            tenant.save(update_fields=["suspended_at"])
            action = "tenant.suspended" if suspended else "tenant.resumed"
            audit.record(principal, action, tenant.slug)
    return tenant
