"""Users of a program: members by the ids it gives them, made on first use."""

from __future__ import annotations

import re

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from tenants import audit
from tenants.access import Principal, principal_for_external
from tenants.errors import BeyondKey, Invalid
from tenants.models import ACT_FOR_USERS, MemberKind, Membership
from tenants.scope import tenant_scope

USER_HEADER = "Atrium-User"
_EXTERNAL_ID = re.compile(r"[!-~]{1,200}")


def act_for_user(principal: Principal, external_id: str) -> Principal:
    """Return the principal of the user whom a key's program names, a member from now on.

    Each program has users of its own: the same id of two programs names two members.

    Raises:
        BeyondKey: without a key that has the scope. Invalid: for an id that is not 1 to 200
        visible ASCII characters. UserShutOut: for one whom an admin disabled or removed.
    """
    if principal.key is None or ACT_FOR_USERS not in principal.key.scopes:
        message = _("This API key may not act for users: it lacks the scope act_for_users.")
        raise BeyondKey(message, param=USER_HEADER)
    if not _EXTERNAL_ID.fullmatch(external_id):
        message = _("%s takes 1 to 200 visible ASCII characters.") % USER_HEADER
        raise Invalid(message, param=USER_HEADER)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        membership = _known(principal, external_id) or _made(principal, external_id)
    return principal_for_external(principal, membership)


def _known(principal: Principal, external_id: str) -> Membership | None:
    found: Membership | None = Membership.objects.filter(
        sponsor=principal.membership_id, external_id=external_id
    ).first()
    return found


def _made(principal: Principal, external_id: str) -> Membership:
    try:
        with transaction.atomic():
            made: Membership = Membership.objects.create(
                kind=MemberKind.EXTERNAL,
                sponsor=principal.membership,
                external_id=external_id,
                name=external_id[:100],
            )
    except IntegrityError:
        # Another request of the same program was quicker.
        found = _known(principal, external_id)
        assert found is not None
        return found
    audit.record(principal, "member.external", made.name, member=str(made.pk))
    return made
