"""Account events (sign-ins, passwords, second factors) in the audit logs of companies.

An account belongs to no single company, so an event is recorded in each company of the user.
The events come from signals of allauth and Django. The IP address is not recorded.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import Any

import structlog
from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa import signals as mfa
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db import DatabaseError, transaction
from django.http import HttpRequest

from tenants import audit
from tenants.actions.second_factors import FACTOR_CHANGED
from tenants.authentication import Principal, choose_membership
from tenants.db import release_connection
from tenants.models import Membership, User
from tenants.scope import tenant_scope

SIGN_IN_FAILED = "sign_in.failed"
# Failed sign-ins queued for recording in this process; more are dropped.
MAX_QUEUED_RECORDS = 200

log = structlog.get_logger(__name__)
# Failed sign-ins are recorded in a background thread, so that response times do not reveal
# whether an e-mail address has an account.
_recorder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="failed-sign-ins")
_free_slots = BoundedSemaphore(MAX_QUEUED_RECORDS)


def enter_company(request: HttpRequest, membership: Membership) -> None:
    """Make this session act for `membership`, and record it in the company's audit log.

    Raises:
        SecondFactorRequired: the sign-in is limited to another company.
    """
    choose_membership(request.session, membership)
    with tenant_scope(membership.tenant_id), transaction.atomic():
        actor = Principal(tenant=membership.tenant, membership=membership, role=membership.role)
        audit.record(actor, "sign_in.entered", membership.name, member=str(membership.pk))


def record_failed_sign_in(address: str) -> Future[None] | None:
    """Queue a failed sign-in for the audit log of each company of the account.

    Nothing is recorded for an address without an account or membership. An hourly limit per
    member prevents attackers from filling a company's audit log.
    """
    if not _free_slots.acquire(blocking=False):
        return None
    future = _recorder.submit(_write_failed_sign_in, address)
    future.add_done_callback(lambda _done: _free_slots.release())
    return future


def _write_failed_sign_in(address: str) -> None:
    try:
        user = User.objects.filter(email=address.strip().lower(), is_active=True).first()
        if user is not None and user.is_operator:
            log.warning("operator_sign_in_failed", user_id=user.pk)
        if user is not None:
            audit.record_for_account(
                user,
                SIGN_IN_FAILED,
                actor="unknown",
                hourly_limit=settings.FAILED_SIGN_INS_RECORDED,
            )
    except (DatabaseError, ValueError) as error:
        log.warning("sign_in_record_failed", error=type(error).__qualname__)
    finally:
        release_connection()


def wait_for_records() -> None:
    """Block until all queued failed sign-ins are recorded."""
    _recorder.submit(lambda: None).result()


def _on_login_failed(*, credentials: dict[str, Any], **kwargs: Any) -> None:
    address = credentials.get("email") or credentials.get("username")
    if isinstance(address, str):
        record_failed_sign_in(address)


def _on_factor_failed(*, user: User, **kwargs: Any) -> None:
    record_failed_sign_in(user.email)


def _on_factor_changed(*, user: User, **kwargs: Any) -> None:
    # Added or removed is not recorded: no company learns whether an account has a second factor.
    transaction.on_commit(partial(audit.record_for_account, user, FACTOR_CHANGED))


def _on_password_changed(*, user: User, **kwargs: Any) -> None:
    transaction.on_commit(partial(audit.record_for_account, user, "account.password_changed"))


def connect_signals() -> None:
    """Connect the handlers of failed sign-ins, password changes and second factor changes."""
    user_login_failed.connect(_on_login_failed, dispatch_uid="tenants.login_failed")
    mfa.authentication_failed.connect(_on_factor_failed, dispatch_uid="tenants.factor_failed")
    for signal in (mfa.authenticator_added, mfa.authenticator_removed, mfa.authenticator_reset):
        signal.connect(_on_factor_changed, dispatch_uid="tenants.factor_changed")
    for signal in (password_changed, password_set, password_reset):
        signal.connect(_on_password_changed, dispatch_uid="tenants.password_changed")
