"""Actions on accounts, independent of any company; only operators may perform them."""

from __future__ import annotations

import structlog
from allauth.account import app_settings
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from tenants import audit
from tenants.actions.people import get_or_create_trusted_account
from tenants.actions.proof import has_memberships, lock_account
from tenants.actions.second_factors import FACTOR_CHANGED, remove_company_factors, send_notice
from tenants.errors import Invalid, NotAllowed, NotFound
from tenants.models import User
from tenants.validation import clean_email_address

log = structlog.get_logger(__name__)


def create_operator(
    email: str, *, password: str | None = None, existing: bool = False
) -> tuple[User, bool]:
    """Make an account a platform operator, created if missing; return True if it is new.

    For the command line. An existing account keeps its password if its address is proven.
    Otherwise its credentials are revoked, and it has operator rights after a password link was
    used. Must run outside any transaction and tenant scope.

    Raises:
        Invalid: the address or password is invalid, a password is given for an existing
        account, or the account is a member of a company and `existing` is False.
    """
    address = clean_email_address(email)
    # Checked first, as a refused request must not revoke credentials, and again under the lock.
    found = User.objects.filter(email=address).first()
    if found is not None and not existing:
        _refuse_member(found)
    user, created = get_or_create_trusted_account(address, password)
    with transaction.atomic():
        user = lock_account(user.pk)
        if not existing:
            _refuse_member(user)
        user.is_staff = user.is_superuser = True
        user.save(update_fields=["is_staff", "is_superuser"])
    log.info("operator_created", user_id=user.pk)
    return user, created


def _refuse_member(user: User) -> None:
    if not user.is_superuser and has_memberships(user.pk):
        message = _("{address} is a member of a company. Add --existing to use this account.")
        raise Invalid(message.format(address=user.email), param="email")


def make_reset_link(operator: User | None, email: str, *, base_url: str) -> str:
    """Return a single-use link for setting a new password for the account of `email`.

    Using it proves the address. `operator` is None on the command line. `base_url` is the URL of
    this installation.

    Raises:
        NotAllowed: `operator` is not an operator. Invalid: the address is invalid. NotFound:
        the address has no account.
    """
    user = _get_account(operator, email)
    token = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
    path = reverse(
        "account_reset_password_from_key",
        kwargs={"uidb36": user_pk_to_url_str(user), "key": token},
    )
    audit.record_for_account(user, "account.reset_link", actor=_get_actor_label(operator))
    log.info(
        "password_link_created", user_id=user.pk, operator_id=operator.pk if operator else None
    )
    return base_url.rstrip("/") + path


def remove_second_factor(operator: User | None, email: str) -> None:
    """Remove all second factors of an account whose owner lost access to them.

    The removal is recorded in the audit log of each of the account's companies, and the owner is
    notified by e-mail. Raises like `make_reset_link`.
    """
    user = _get_account(operator, email)
    with transaction.atomic():
        Authenticator.objects.filter(user=user).delete()
        send_notice(
            user.email,
            _("Two-factor authentication was removed"),
            _(
                "The operator removed two-factor authentication from your account. Until you set "
                "it up again, you sign in with your password only."
            ),
        )
    remove_company_factors(user)
    audit.record_for_account(user, FACTOR_CHANGED, actor=_get_actor_label(operator))
    log.info(
        "second_factor_removed",
        user_id=user.pk,
        operator_id=operator.pk if operator else None,
    )


def _get_actor_label(operator: User | None) -> str:
    return f"operator {operator.email}" if operator is not None else "command line"


def _get_account(operator: User | None, email: str) -> User:
    if operator is not None and not operator.is_operator:
        raise NotAllowed
    address = clean_email_address(email)
    user = User.objects.filter(email=address).first()
    if user is None:
        raise NotFound("No account has this address.", param="email")
    return user
