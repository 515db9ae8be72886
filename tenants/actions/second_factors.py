"""Second factors that open one company only, and the waiver that leads to one."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from tenants import audit, clock
from tenants.authentication import Principal, memberships_of
from tenants.company_factors import CompanyFactor, counter_of
from tenants.db import call_privileged
from tenants.errors import Invalid, NotAllowed, NotFound
from tenants.mfa import SealedAdapter
from tenants.models import MemberKind, Membership, Role, User
from tenants.notices import mail_notice
from tenants.scope import tenant_scope

# How long a waiver can be used.
WAIVED_FOR = timedelta(days=3)
FACTOR_CHANGED = "account.second_factor_changed"


def waive_second_factor(principal: Principal, member_id: UUID) -> Membership:
    """Let a member's next sign-in to this company go without their second factor, once.

    It is for owners, and for members other than themselves. Whether the account has a second
    factor is not looked at. A former second factor for this company alone ends.

    Raises:
        NotAllowed: for anybody but an owner, and for oneself. NotFound: for an unknown id, or
        a member who cannot sign in.
    """
    principal.require(Role.OWNER)
    if member_id == principal.membership_id:
        raise NotAllowed(_("Ask another owner or the operator: nobody waives their own."))
    with tenant_scope(principal.tenant_id), transaction.atomic():
        people = Membership.objects.all().active().filter(kind=MemberKind.PERSON)
        member: Membership | None = (
            people.select_for_update(no_key=True).filter(pk=member_id).first()
        )
        if member is None:
            raise NotFound
        member.factor_waived_until = clock.now() + WAIVED_FOR
        member.save(update_fields=["factor_waived_until"])
        CompanyFactor.objects.filter(member=member).delete()
        audit.record(principal, "member.second_factor_waived", member.name, member=str(member.pk))
        mail_notice(
            member.email,
            _("Your second factor in {company}").format(company=principal.tenant.name),
            _(
                "{who} lets you sign in to {company} once without your second factor, within "
                "three days. You will then set up a new one for this company. The second factor "
                "of your account stays in force for every other company."
            ).format(who=principal.label, company=principal.tenant.name),
        )
    return member


def list_waived_memberships(user: User) -> list[Membership]:
    """Return the memberships that `user` may now sign in to without a second factor."""
    return [each for each in memberships_of(user) if _is_waived(each)]


def use_waiver(user: User, membership_id: str) -> Membership:
    """End a waiver by using it, and return the membership that the sign-in then opens.

    Raises:
        NotFound: for an id that is not one of the user's waived memberships, or not any more.
    """
    for found in list_waived_memberships(user):
        if str(found.pk) != membership_id:
            continue
        with tenant_scope(found.tenant_id), transaction.atomic():
            open_waivers = Membership.objects.filter(
                pk=found.pk, factor_waived_until__gt=clock.now()
            )
            if open_waivers.update(factor_waived_until=None):
                return found
    raise NotFound


def end_waivers(user: User) -> None:
    """End the waivers of a person who has signed in with all that their account asks for."""
    for found in memberships_of(user):
        if found.factor_waived_until is not None:
            with tenant_scope(found.tenant_id), transaction.atomic():
                Membership.objects.filter(pk=found.pk).update(factor_waived_until=None)


def set_company_factor(user: User, membership_id: UUID, *, secret: str, code: str) -> Membership:
    """Set up the second factor of a member for this company only, in place of a former one.

    Raises:
        NotFound: for an id that is not one of the user's memberships. Invalid: for a code that
        the secret does not give at present.
    """
    member = next((each for each in memberships_of(user) if each.pk == membership_id), None)
    if member is None:
        raise NotFound
    counter = counter_of(secret, code)
    if counter is None:
        raise Invalid(_("This code is not right."), param="code")
    with tenant_scope(member.tenant_id), transaction.atomic():
        CompanyFactor.objects.filter(member=member).delete()
        CompanyFactor.objects.create(
            member=member, secret=SealedAdapter().encrypt(secret), last_counter=counter
        )
        actor = Principal(tenant=member.tenant, membership=member, role=member.role)
        audit.record(actor, FACTOR_CHANGED, member.name, member=str(member.pk))
    return member


def use_company_code(user: User, code: str) -> Membership | None:
    """Return the membership whose own second factor gives this code, and use the code up."""
    for member in memberships_of(user):
        with tenant_scope(member.tenant_id), transaction.atomic():
            factor: CompanyFactor | None = CompanyFactor.objects.filter(member=member).first()
            counter = factor.counter_of(code) if factor else None
            if factor is None or counter is None:
                continue
            unused = CompanyFactor.objects.filter(pk=factor.pk, last_counter__lt=counter)
            if unused.update(last_counter=counter):
                return member
    return None


def remove_company_factors(user: User) -> None:
    """Remove every second factor and open waiver that `user` has in single companies.

    Companies that have disabled the person are included.
    """
    for membership_id, tenant_id in call_privileged("present_memberships_of", user.pk):
        with tenant_scope(tenant_id), transaction.atomic():
            CompanyFactor.objects.filter(member=membership_id).delete()
            Membership.objects.filter(pk=membership_id).update(factor_waived_until=None)


def _is_waived(membership: Membership) -> bool:
    until = membership.factor_waived_until
    return until is not None and until > clock.now()
