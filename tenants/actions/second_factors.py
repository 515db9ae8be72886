"""Second factors of a single company, waivers that lead to them, and mail about changes."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.authentication import Principal, list_memberships
from tenants.company_factors import CompanyFactor, find_counter
from tenants.db import call_privileged
from tenants.errors import Invalid, NotAllowed, NotFound
from tenants.mfa import EncryptedMfaAdapter
from tenants.models import MemberKind, Membership, Role, User
from tenants.scope import tenant_scope

# Validity of a waiver.
WAIVER_VALIDITY = timedelta(days=3)
FACTOR_CHANGED = "account.second_factor_changed"


def waive_second_factor(principal: Principal, member_id: UUID) -> Membership:
    """Waive the second factor for a member's next sign-in to this company.

    Only owners may do this, and not for themselves. It does not check whether the account has a
    second factor. An existing second factor for this company is removed.

    Raises:
        NotAllowed: the principal is not an owner, or is the member. NotFound: the id is unknown
        or the member cannot sign in.
    """
    principal.require(Role.OWNER)
    if member_id == principal.membership_id:
        raise NotAllowed(_("You cannot do this for yourself. Ask another owner or the operator."))
    with tenant_scope(principal.tenant_id), transaction.atomic():
        people = Membership.objects.all().active().filter(kind=MemberKind.PERSON)
        member: Membership | None = (
            people.select_for_update(no_key=True).filter(pk=member_id).first()
        )
        if member is None:
            raise NotFound
        member.factor_waived_until = clock.now() + WAIVER_VALIDITY
        member.save(update_fields=["factor_waived_until"])
        CompanyFactor.objects.filter(member=member).delete()
        audit.record(principal, "member.second_factor_waived", member.name, member=str(member.pk))
        send_notice(
            member.email,
            _("Two-factor authentication at {company}").format(company=principal.tenant.name),
            _(
                "{who} lets you sign in to {company} once without two-factor authentication, "
                "within three days. You will then set it up again for this company. Other "
                "companies still require the second factor of your account."
            ).format(who=principal.label, company=principal.tenant.name),
        )
    return member


def list_waived_memberships(user: User) -> list[Membership]:
    """Return the memberships of `user` with an unused, unexpired waiver."""
    return [member for member in list_memberships(user) if _is_waived(member)]


def use_waiver(user: User, membership_id: str) -> Membership:
    """Use up a waiver and return the membership to sign in to.

    Raises:
        NotFound: the user has no membership with this id and an open waiver.
    """
    for member in list_waived_memberships(user):
        if str(member.pk) != membership_id:
            continue
        with tenant_scope(member.tenant_id), transaction.atomic():
            open_waivers = Membership.objects.filter(
                pk=member.pk, factor_waived_until__gt=clock.now()
            )
            if open_waivers.update(factor_waived_until=None):
                return member
    raise NotFound


def remove_waivers(user: User) -> None:
    """Remove the waivers of a user who has signed in with all their factors."""
    for member in list_memberships(user):
        if member.factor_waived_until is not None:
            with tenant_scope(member.tenant_id), transaction.atomic():
                Membership.objects.filter(pk=member.pk).update(factor_waived_until=None)


def set_company_factor(user: User, membership_id: UUID, *, secret: str, code: str) -> Membership:
    """Set or replace a member's second factor for this company only.

    Raises:
        NotFound: the user has no membership with this id. Invalid: the code is not a current
        code of the secret.
    """
    member = next((row for row in list_memberships(user) if row.pk == membership_id), None)
    if member is None:
        raise NotFound
    counter = find_counter(secret, code)
    if counter is None:
        raise Invalid(_("Incorrect code."), param="code")
    with tenant_scope(member.tenant_id), transaction.atomic():
        CompanyFactor.objects.filter(member=member).delete()
        CompanyFactor.objects.create(
            member=member, secret=EncryptedMfaAdapter().encrypt(secret), last_counter=counter
        )
        actor = Principal(tenant=member.tenant, membership=member, role=member.role)
        audit.record(actor, FACTOR_CHANGED, member.name, member=str(member.pk))
    return member


def use_company_code(user: User, code: str) -> Membership | None:
    """Use up a code; return the membership whose company-only second factor it matches."""
    for member in list_memberships(user):
        with tenant_scope(member.tenant_id), transaction.atomic():
            factor: CompanyFactor | None = CompanyFactor.objects.filter(member=member).first()
            counter = factor.find_counter(code) if factor else None
            if factor is None or counter is None:
                continue
            unused = CompanyFactor.objects.filter(pk=factor.pk, last_counter__lt=counter)
            if unused.update(last_counter=counter):
                return member
    return None


def remove_company_factors(user: User) -> None:
    """Remove all second factors for single companies and all waivers of `user`.

    This includes companies in which the member is disabled.
    """
    for membership_id, tenant_id in call_privileged("present_memberships_of", user.pk):
        with tenant_scope(tenant_id), transaction.atomic():
            CompanyFactor.objects.filter(member=membership_id).delete()
            Membership.objects.filter(pk=membership_id).update(factor_waived_until=None)


def _is_waived(membership: Membership) -> bool:
    until = membership.factor_waived_until
    return until is not None and until > clock.now()


def send_notice(address: str, subject: str, text: str) -> bool:
    """Send a notification after the commit; return whether mail is configured.

    A failure of the mail server is logged and does not undo the change.
    """
    if not settings.EMAIL_URL:
        return False
    closing = _("If you did not expect this, contact an owner of your company or the operator.")
    body = f"{text}\n\n{closing}"
    transaction.on_commit(
        partial(send_mail, " ".join(subject.split()), body, None, [address]), robust=True
    )
    return True
