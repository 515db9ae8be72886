"""External users: members identified by a program's own ids and created on first use."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.authentication import Principal, build_external_principal
from tenants.errors import Invalid, MissingScope, TooManyNewUsers, TooManyUsers
from tenants.models import ACT_FOR_USERS, MemberKind, Membership
from tenants.scope import tenant_scope

USER_HEADER = "Atrium-User"
_EXTERNAL_ID = re.compile(r"[!-~]{1,200}")


def act_for_user(principal: Principal, external_id: str) -> Principal:
    """Return the principal of the user that a program names; a new user becomes a member.

    Raises like `get_or_build_external_principal` and `admit_user`.
    """
    return admit_user(get_or_build_external_principal(principal, external_id))


def get_or_build_external_principal(principal: Principal, external_id: str) -> Principal:
    """Return the principal of the user that a program names, with an unsaved member if new.

    Ids are scoped to a program: the same id from two programs identifies two members. An
    unsaved member has no data and can own none before `admit_user`.

    Raises:
        MissingScope: there is no API key, or it lacks the scope act_for_users. Invalid: the id is
        not 1 to 200 visible ASCII characters. UserDisabled: an admin disabled or removed the
        user.
    """
    if principal.key is None or ACT_FOR_USERS not in principal.key.scopes:
        message = _("This API key cannot act for users. It needs the scope act_for_users.")
        raise MissingScope(message, param=USER_HEADER)
    if not _EXTERNAL_ID.fullmatch(external_id):
        message = _("%s must be 1 to 200 visible ASCII characters.") % USER_HEADER
        raise Invalid(message, param=USER_HEADER)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        membership = _find_member(principal, external_id)
    return build_external_principal(principal, membership or _build_member(principal, external_id))


def admit_user(principal: Principal) -> Principal:
    """Save the member of a new external user; an existing member is returned unchanged.

    The limits are not exact: concurrent requests may exceed them.

    Raises:
        TooManyNewUsers: the company has reached its hourly limit of new external users.
        TooManyUsers: the company has reached its limit of external users.
    """
    user = principal.membership
    if user is None or not user._state.adding:
        return principal
    assert user.sponsor is not None
    program = replace(principal, membership=user.sponsor, role=user.sponsor.role)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        _check_user_limits()
        return build_external_principal(program, _save_member(program, user))


def _check_user_limits() -> None:
    external = Membership.objects.filter(kind=MemberKind.EXTERNAL)
    hour_ago = clock.now() - timedelta(hours=1)
    if external.filter(created_at__gt=hour_ago).count() >= settings.EXTERNAL_USERS_PER_HOUR:
        message = _(
            "Your company's programs have reached the limit of {most} new users per hour. "
            "Try again later."
        )
        raise TooManyNewUsers(message.format(most=settings.EXTERNAL_USERS_PER_HOUR))
    if external.count() >= settings.EXTERNAL_USERS:
        message = _("Your company's programs have reached the limit of {most} users.")
        raise TooManyUsers(message.format(most=settings.EXTERNAL_USERS))


def _find_member(principal: Principal, external_id: str) -> Membership | None:
    found: Membership | None = Membership.objects.filter(
        sponsor=principal.membership_id, external_id=external_id
    ).first()
    return found


def _build_member(principal: Principal, external_id: str) -> Membership:
    return Membership(
        tenant=principal.tenant,
        kind=MemberKind.EXTERNAL,
        sponsor=principal.membership,
        external_id=external_id,
        name=external_id[:100],
        created_at=clock.now(),
    )


def _save_member(program: Principal, user: Membership) -> Membership:
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        # A concurrent request of the same program created the member first.
        assert user.external_id is not None
        found = _find_member(program, user.external_id)
        assert found is not None
        return found
    audit.record(program, "member.external", user.name, member=str(user.pk))
    return user
