"""Proof that an account belongs to the owner of its e-mail address (decision 0016).

Until then, somebody else may have chosen the account's password. The proof therefore revokes
everything set up before: password, second factors, sessions and API keys.
"""

from __future__ import annotations

import structlog
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.utils import timezone

from tenants import audit
from tenants.authentication import Principal
from tenants.company_factors import CompanyFactor
from tenants.db import call_privileged
from tenants.models import ApiKey, Membership, User
from tenants.scope import tenant_scope

log = structlog.get_logger(__name__)


def revoke_unproven_credentials(user_id: int) -> bool:
    """Revoke all credentials of an account if its address is unproven; return True if it was.

    Must run outside any transaction and tenant scope, like `revoke_access`.
    """
    with transaction.atomic():
        user = lock_account(user_id)
        if user.address_proven_at is not None:
            return False
        user.set_unusable_password()
        user.save(update_fields=["password"])
        Authenticator.objects.filter(user=user).delete()
    revoke_access(user_id)
    log.info("account_credentials_ended", user_id=user_id)
    return True


def prove_address(user: User, *, password: str | None = None) -> bool:
    """Mark the address of a locked account as proven; return True if it was unproven.

    Call within the transaction of the lock, and if it returns True call `revoke_access` after the
    commit. `password` replaces the current password; None keeps it, if it has just been set.
    """
    if user.address_proven_at is not None:
        return False
    if password is not None:
        user.set_password(password)
    user.address_proven_at = timezone.now()
    user.save(update_fields=["password", "address_proven_at"])
    Authenticator.objects.filter(user=user).delete()
    log.info("account_address_proven", user_id=user.pk)
    return True


def prove_by_reset(user_id: int, *, keep_sign_in: str | None = None) -> bool:
    """Mark an address as proven by a password reset; return True if it was unproven.

    Reset links are sent only to the address or given to the operator.
    """
    with transaction.atomic():
        is_first = prove_address(lock_account(user_id))
    if is_first:
        revoke_access(user_id, keep_sign_in=keep_sign_in)
    return is_first


def lock_account(user_id: int) -> User:
    """Return the account, freshly read and locked until the transaction ends."""
    return User.objects.select_for_update().get(pk=user_id)


def revoke_access(user_id: int, *, keep_sign_in: str | None = None) -> None:
    """Revoke an account's sessions, API keys and second factors for single companies.

    The session with the key `keep_sign_in` is kept. The API keys of each company are revoked in
    a separate transaction and recorded in the company's audit log.
    """
    for sign_in in UserSession.objects.filter(user_id=user_id):
        if sign_in.session_key != keep_sign_in:
            sign_in.end()
    for membership_id, tenant_id in call_privileged("present_memberships_of", user_id):
        with tenant_scope(tenant_id), transaction.atomic():
            member = Membership.objects.select_related("tenant").get(pk=membership_id)
            CompanyFactor.objects.filter(member=member).delete()
            Membership.objects.filter(pk=membership_id).update(factor_waived_until=None)
            keys = ApiKey.objects.select_for_update().filter(membership=member, revoked_at=None)
            principal = Principal(tenant=member.tenant, membership=member, role=member.role)
            for key in keys.order_by("pk"):
                key.revoked_at = timezone.now()
                key.save(update_fields=["revoked_at"])
                audit.record(principal, "key.revoked", key.name, key=str(key.pk))


def has_memberships(user_id: int) -> bool:
    """Return True if an account is a member of any company, even if disabled there."""
    return bool(call_privileged("present_memberships_of", user_id))
