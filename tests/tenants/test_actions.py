"""Actions on companies, people and keys: who may, what is refused, what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tenants import actions
from tenants.authentication import (
    Principal,
    authenticate_key,
    get_console_principal,
    get_session_principal,
)
from tenants.errors import (
    AccessDenied,
    AtriumError,
    Invalid,
    LastOwner,
    NotAllowed,
    NotFound,
)
from tenants.models import AuditEvent, Membership, Tenant, User
from tenants.reading_periods import ReadingPeriod
from tests.world import PASSWORD, Company, World, signed_in_session

UNFIT = ["", "   ", "a\x00b", "\ud800", "x" * 101, "line\nbreak", 7, None]


def trail(company: Company) -> list[str]:
    with company.scope():
        return list(AuditEvent.objects.order_by("created_at").values_list("action", flat=True))


def member(company: Company, name: str) -> Membership:
    with company.scope():
        found: Membership = Membership.objects.get(pk=company.people[name].pk)
        return found


def test_role_changes_and_is_recorded(world: World) -> None:
    actions.change_role(world.acme.principal("adam"), world.acme.alice.pk, role="admin")
    assert member(world.acme, "alice").role == "admin"
    assert trail(world.acme)[-1] == "member.role"


MemberAction = Callable[[Principal, UUID], Membership]
MEMBER_ACTIONS: list[MemberAction] = [
    actions.disable_member,
    actions.enable_member,
    actions.remove_member,
    actions.sign_out_member,
    lambda principal, member_id: actions.change_role(principal, member_id, role="member"),
]


@pytest.mark.parametrize("action", MEMBER_ACTIONS)
def test_members_change_nobody(world: World, action: MemberAction) -> None:
    with pytest.raises(NotAllowed):
        action(world.acme.principal("alice"), world.acme.bob.pk)


@pytest.mark.parametrize("action", MEMBER_ACTIONS)
def test_admins_do_not_touch_owners(world: World, action: MemberAction) -> None:
    with pytest.raises(NotAllowed):
        action(world.acme.principal("adam"), world.acme.olga.pk)


@pytest.mark.parametrize("action", MEMBER_ACTIONS)
def test_member_of_another_company_reads_like_nobody(world: World, action: MemberAction) -> None:
    said = []
    for member_id in (world.globex.gina.pk, uuid4()):
        with pytest.raises(NotFound) as caught:
            action(world.acme.principal("olga"), member_id)
        said.append(caught.value.message)
    assert said[0] == said[1]


def test_admins_make_no_owner(world: World) -> None:
    with pytest.raises(NotAllowed):
        actions.change_role(world.acme.principal("adam"), world.acme.alice.pk, role="owner")


LOSSES: list[MemberAction] = [actions.disable_member, actions.remove_member, MEMBER_ACTIONS[-1]]


@pytest.mark.parametrize("action", LOSSES)
def test_last_owner_stays(world: World, action: MemberAction) -> None:
    with pytest.raises(LastOwner):
        action(world.acme.principal("olga"), world.acme.olga.pk)


@pytest.mark.parametrize("action", LOSSES)
def test_of_two_owners_who_take_each_other_away_one_stays(
    world: World, action: MemberAction
) -> None:
    actions.change_role(world.acme.principal("olga"), world.acme.adam.pk, role="owner")
    world.acme.people["adam"] = member(world.acme, "adam")

    def take(actor: str, other: str) -> bool:
        try:
            action(world.acme.principal(actor), world.acme.people[other].pk)
        except LastOwner:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(take, ("olga", "adam"), ("adam", "olga")))
    assert sorted(done) == [False, True]


def test_unknown_role_is_refused(world: World) -> None:
    with pytest.raises(Invalid):
        actions.change_role(world.acme.principal("olga"), world.acme.alice.pk, role="emperor")


def in_session(company: Company, name: str) -> Principal | None:
    client = company.client(name)
    user = company.people[name].user
    return get_session_principal(user, client.session)


@pytest.mark.parametrize("action", [actions.disable_member, actions.remove_member])
def test_access_ends_with_the_membership_here_and_nowhere_else(
    world: World, action: MemberAction
) -> None:
    action(world.acme.principal("adam"), world.acme.pat.pk)
    assert in_session(world.acme, "pat") is None
    assert in_session(world.globex, "pat") is not None


def test_signing_out_ends_the_present_sign_in(world: World) -> None:
    client = world.acme.client("alice")
    actions.sign_out_member(world.acme.principal("adam"), world.acme.alice.pk)
    assert client.get("/profile/").context["form"] is None
    assert in_session(world.acme, "alice") is not None


def test_enabled_member_comes_in_again(world: World) -> None:
    actions.disable_member(world.acme.principal("adam"), world.acme.alice.pk)
    actions.enable_member(world.acme.principal("adam"), world.acme.alice.pk)
    assert in_session(world.acme, "alice") is not None


def test_suspended_company_lets_nobody_in(world: World) -> None:
    actions.suspend_tenant(world.operator, world.acme.tenant.pk)
    assert in_session(world.acme, "olga") is None
    assert in_session(world.globex, "otto") is not None
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["olga"])


def test_resumed_company_opens(world: World) -> None:
    actions.suspend_tenant(world.operator, world.acme.tenant.pk)
    actions.resume_tenant(world.operator, world.acme.tenant.pk)
    assert in_session(world.acme, "olga") is not None
    assert trail(world.acme)[-2:] == ["tenant.suspended", "tenant.resumed"]


def test_inactive_user_has_no_principal(world: World) -> None:
    user = world.acme.alice.user
    assert user is not None
    user.is_active = False
    assert get_session_principal(user, world.acme.client("alice").session) is None


def test_choice_of_somebody_elses_membership_gives_nothing(world: World) -> None:
    assert get_session_principal(world.acme.bob.user, world.acme.client("alice").session) is None


@pytest.mark.parametrize("operator", ["alice", "olga"])
def test_only_the_operator_suspends_and_enters(world: World, operator: str) -> None:
    user = world.acme.people[operator].user
    assert user is not None
    with pytest.raises(NotAllowed):
        actions.suspend_tenant(user, world.acme.tenant.pk)
    with pytest.raises(NotAllowed):
        actions.enter_tenant(user, signed_in_session(user), world.acme.tenant.pk)


def test_operator_enters_and_leaves_on_the_record(world: World) -> None:
    session = signed_in_session(world.operator)
    session.save()
    actions.enter_tenant(world.operator, session, world.acme.tenant.pk)
    inside = get_session_principal(world.operator, session)
    assert inside is not None
    assert (inside.tenant_id, inside.membership, inside.is_owner) == (
        world.acme.tenant.pk,
        None,
        True,
    )
    actions.leave_tenant(world.operator, session)
    assert get_session_principal(world.operator, session) is None
    assert trail(world.acme)[-2:] == ["operator.entered", "operator.left"]


def test_operator_enters_no_unknown_company(world: World) -> None:
    session = signed_in_session(world.operator)
    with pytest.raises(NotFound):
        actions.enter_tenant(world.operator, session, uuid4())


def test_entered_company_means_nothing_for_a_former_operator(world: World) -> None:
    session = signed_in_session(world.operator)
    session.save()
    actions.enter_tenant(world.operator, session, world.acme.tenant.pk)
    world.operator.is_superuser = False
    assert get_session_principal(world.operator, session) is None


def test_letting_admins_read_is_recorded_and_stamped(world: World) -> None:
    before = timezone.now()
    actions.update_tenant_settings(world.acme.principal("olga"), admins_read_threads=True)
    with world.acme.scope():
        period = ReadingPeriod.objects.get()
    assert period.started_at >= before
    assert (period.started_by_id, period.ended_at) == (world.acme.olga.pk, None)
    assert trail(world.acme)[-1] == "tenant.changed"


def test_settings_that_stay_the_same_leave_no_trace(world: World) -> None:
    actions.update_tenant_settings(world.acme.principal("adam"), name=world.acme.tenant.name)
    assert "tenant.changed" not in trail(world.acme)


def test_members_change_no_settings(world: World) -> None:
    with pytest.raises(NotAllowed):
        actions.update_tenant_settings(world.acme.principal("alice"), name="Mine")


@pytest.mark.parametrize("name", UNFIT[:-1])
def test_unfit_company_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(Invalid):
        actions.update_tenant_settings(world.acme.principal("adam"), name=name)


@pytest.mark.parametrize("color", ["red", "#12345", "#12345g", "#123456\n#", "url(x)"])
def test_unfit_colour_is_refused(world: World, color: str) -> None:
    with pytest.raises(Invalid):
        actions.update_tenant_settings(world.acme.principal("adam"), color=color)


@pytest.mark.parametrize("slug", ["", "A b", "-a", "a-", "a--b", "ä", "x" * 51, "a\x00", "acme"])
def test_unfit_or_taken_short_name_is_refused(world: World, slug: str) -> None:
    with pytest.raises(Invalid):
        actions.create_tenant(None, slug, name="Name")


def test_new_company_has_a_trail_of_its_own(world: World) -> None:
    tenant = actions.create_tenant(world.operator, "initech", name="Initech")
    with Company(tenant=tenant).scope():
        assert Tenant.objects.get().name == "Initech"
        assert AuditEvent.objects.get().actor == "operator operator@atrium.example"


def test_join_makes_an_account_and_a_membership(world: World) -> None:
    console = get_console_principal("acme")
    made, created = actions.add_member(console, "New@Acme.example", password="grape-fresh-77")
    assert (made.email, made.role, created) == ("new@acme.example", "member", True)
    assert User.objects.get(email="new@acme.example").check_password("grape-fresh-77")


def test_join_keeps_the_password_of_an_account(world: World) -> None:
    made, created = actions.add_member(get_console_principal("acme"), "gina@globex.example")
    user = User.objects.get(email="gina@globex.example")
    assert (made.user_id, created) == (user.pk, False)
    assert user.check_password(PASSWORD)


def test_join_takes_no_password_for_an_account_that_exists(world: World) -> None:
    with pytest.raises(Invalid):
        actions.add_member(
            get_console_principal("acme"), "gina@globex.example", password="grape-fresh-77"
        )
    assert User.objects.get(email="gina@globex.example").check_password(PASSWORD)


def test_join_of_a_member_is_refused(world: World) -> None:
    with pytest.raises(Invalid):
        actions.add_member(get_console_principal("acme"), "ALICE@acme.example")


def test_join_after_removal_is_the_same_membership(world: World) -> None:
    actions.remove_member(world.acme.principal("adam"), world.acme.alice.pk)
    made, _created = actions.add_member(
        get_console_principal("acme"), "alice@acme.example", role="admin"
    )
    assert (made.pk, made.role, made.is_active) == (world.acme.alice.pk, "admin", True)


def test_sign_in_from_before_the_removal_stays_ended_after_a_new_join(world: World) -> None:
    client = world.acme.client("alice")
    actions.remove_member(world.acme.principal("adam"), world.acme.alice.pk)
    actions.add_member(get_console_principal("acme"), "alice@acme.example")
    assert client.get("/profile/").context["form"] is None


def test_owners_of_a_company_do_not_join_people_past_their_consent(world: World) -> None:
    with pytest.raises(NotAllowed):
        actions.add_member(world.acme.principal("olga"), "gina@globex.example")


@pytest.mark.parametrize("email", ["", "x", "a@b", "a\x00@b.example", "\ud800@b.example", None, 5])
def test_unfit_address_is_refused(world: World, email: str) -> None:
    with pytest.raises(Invalid):
        actions.add_member(get_console_principal("acme"), email)


@pytest.mark.parametrize(
    "password", ["short", "12345678901", "password", "a\x00bcdefgh1", "\ud800" * 9]
)
def test_unfit_password_is_refused(world: World, password: str) -> None:
    with pytest.raises(Invalid):
        actions.add_member(get_console_principal("acme"), "new@acme.example", password=password)


def test_profile_is_of_this_membership_only(world: World) -> None:
    actions.update_profile(
        world.acme.principal("pat"), name="Patricia", language="en", zone="Europe/Vienna"
    )
    assert (member(world.acme, "pat").name, member(world.acme, "pat").zone) == (
        "Patricia",
        "Europe/Vienna",
    )
    assert member(world.globex, "pat").name == world.globex.pat.name


@pytest.mark.parametrize(
    "change",
    [{"name": bad} for bad in UNFIT]
    + [{"language": "xx"}, {"zone": "Mars/Base"}, {"zone": "\x00"}],
)
def test_unfit_profile_is_refused(world: World, change: dict[str, str]) -> None:
    fit = {"name": "Alice", "language": "en", "zone": "UTC"}
    with pytest.raises(Invalid):
        actions.update_profile(world.acme.principal("alice"), **{**fit, **change})


def test_admin_does_not_revoke_an_owners_key(world: World) -> None:
    with pytest.raises(NotFound):
        actions.revoke_api_key(world.acme.principal("adam"), world.acme.keys["olga"].pk)


def test_reset_link_is_the_operators_alone(world: World) -> None:
    user = world.acme.olga.user
    with pytest.raises(NotAllowed):
        actions.make_reset_link(user, "alice@acme.example", base_url="http://x")


def test_reset_link_for_nobody_says_so(world: World) -> None:
    with pytest.raises(NotFound):
        actions.make_reset_link(world.operator, "nobody@acme.example", base_url="http://x")


def test_operator_is_made_of_an_account_that_exists(world: World) -> None:
    user, created = actions.create_operator("alice@acme.example", existing=True)
    assert (user.is_superuser, created) == (True, False)


def test_refusals_carry_a_code_and_a_sentence() -> None:
    for kind in AtriumError.__subclasses__():
        error = kind()
        assert error.code
        assert error.message.endswith((".", ".)"))


def test_wrong_bearer_key_is_told_in_json(world: World) -> None:
    answer = Client().get("/profile/", headers={"Authorization": "Bearer atr_wrong"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_key_never_falls_back_to_the_cookie_beside_it(world: World) -> None:
    client = world.acme.client("alice")
    answer = client.get("/profile/", headers={"Authorization": "Bearer atr_wrong"})
    assert answer.status_code == 401
