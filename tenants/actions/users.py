"""Accounts: what only their owner or the operator changes."""

from __future__ import annotations

import structlog
from allauth.account import app_settings
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from tenants import audit
from tenants.actions.people import get_account_for_operator
from tenants.actions.proof import has_memberships, lock_account
from tenants.actions.second_factors import FACTOR_CHANGED, remove_company_factors
from tenants.errors import Invalid, NotAllowed, NotFound
from tenants.models import User
from tenants.notices import mail_notice
from tenants.validation import clean_email_address

log = structlog.get_logger(__name__)


def create_operator(
    email: str, *, password: str | None = None, existing: bool = False
) -> tuple[User, bool]:
    """Make the account of `email` a platform operator, and tell whether it is new.

    For the command line. An account that exists keeps its password where its address is
    proven; without proof its credentials end, and the rights count once a link that the
    operator hands out was used. Must run outside any transaction and scope.

    Raises:
        Invalid: for a bad address or password, a password for an account that exists, or,
        unless `existing`, an account that is a member of a company.
    """
    address = clean_email_address(email)
    # Asked first, so that a refusal ends no credentials, and again under the lock.
    found = User.objects.filter(email=address).first()
    if found is not None and not existing:
        _refuse_member(found)
    user, created = get_account_for_operator(address, password)
    with transaction.atomic():
        user = lock_account(user.pk)
        if not existing:
            _refuse_member(user)
        user.is_staff = user.is_superuser = True
        user.save(update_fields=["is_staff", "is_superuser"])
    log.info("operator.made", user_id=user.pk)
    return user, created


def _refuse_member(user: User) -> None:
    if not user.is_superuser and has_memberships(user.pk):
        message = _("{address} is a member of a company: add --existing to use this account.")
        raise Invalid(message.format(address=user.email), param="email")


def make_reset_link(operator: User | None, email: str, *, base_url: str) -> str:
    """Return a link with which the owner of `email` sets a new password, once.

    Its use proves the address. `operator` is None on the command line; `base_url` is the
    address of this installation.

    Raises:
        NotAllowed: for anybody but the operator. Invalid, NotFound: for the address.
    """
    user = _account(operator, email)
    token = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
    path = reverse(
        "account_reset_password_from_key",
        kwargs={"uidb36": user_pk_to_url_str(user), "key": token},
    )
    audit.record_for_account(user, "account.reset_link", actor=_actor(operator))
    log.info("operator.reset_link", user_id=user.pk, operator_id=operator.pk if operator else None)
    return base_url.rstrip("/") + path


def remove_second_factor(operator: User | None, email: str) -> None:
    """Remove every second factor of an account whose owner has lost it; raises like the link.

    It is recorded in the log of each company that the account opens, and mailed to its owner.
    """
    user = _account(operator, email)
    with transaction.atomic():
        Authenticator.objects.filter(user=user).delete()
        mail_notice(
            user.email,
            _("Your second factor was removed"),
            _(
                "The operator removed the second factor of your account. Until you set up a new "
                "one, your password alone signs you in."
            ),
        )
    remove_company_factors(user)
    audit.record_for_account(user, FACTOR_CHANGED, actor=_actor(operator))
    log.info(
        "operator.second_factor_removed",
        user_id=user.pk,
        operator_id=operator.pk if operator else None,
    )


def _actor(operator: User | None) -> str:
    return f"operator {operator.email}" if operator is not None else "command line"


def _account(operator: User | None, email: str) -> User:
    if operator is not None and not operator.is_operator:
        raise NotAllowed
    address = clean_email_address(email)
    user = User.objects.filter(email=address).first()
    if user is None:
        raise NotFound("There is no account with this address.", param="email")
    return user
