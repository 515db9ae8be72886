"""Proof that the owner of an address holds its account (decision 0016).

Without it anybody may have chosen the account's password, so what was set up before the proof
ends with it: password, second factors, sign-ins and API keys.
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


def end_unproven_credentials(user_id: int) -> bool:
    """End every credential of an account without proof; return whether it is one.

    Must run outside any transaction and scope, as `end_access` must.
    """
    with transaction.atomic():
        user = lock_account(user_id)
        if user.address_proven_at is not None:
            return False
        user.set_unusable_password()
        user.save(update_fields=["password"])
        Authenticator.objects.filter(user=user).delete()
    end_access(user_id)
    log.info("account_credentials_ended", user_id=user_id)
    return True


def prove_address(user: User, *, password: str | None = None) -> bool:
    """Note the proof of a locked account, within its transaction; return whether it is the first.

    `password` replaces the present one; None keeps it, where it was just set. The caller calls
    `end_access` after the commit of a first proof.
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
    """Note that a link for a new password was used; return whether this is the first proof.

    These links go by mail to the address, or to the operator.
    """
    with transaction.atomic():
        is_first = prove_address(lock_account(user_id))
    if is_first:
        end_access(user_id, keep_sign_in=keep_sign_in)
    return is_first


def lock_account(user_id: int) -> User:
    """Return the account as it is now, locked until the transaction ends."""
    return User.objects.select_for_update().get(pk=user_id)


def end_access(user_id: int, *, keep_sign_in: str | None = None) -> None:
    """End an account's sign-ins, but for one session key, and its keys and factors in companies.

    Each company's API keys are revoked in a transaction of their own, on the company's record.
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
    """Tell whether an account is a member of any company, disabled there or not."""
    return bool(call_privileged("present_memberships_of", user_id))
