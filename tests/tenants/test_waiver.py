"""A second factor that an owner waives, and the one for this company that takes its place."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.asserts import assertRedirects

from tenants.actions import enter_tenant, invite, remove_second_factor, waive_second_factor
from tenants.authentication import get_session_principal
from tenants.company_factors import CompanyFactor
from tenants.errors import NotAllowed, NotFound
from tenants.models import AuditEvent, Membership, User
from tests.tenants.test_sign_in import chosen, sign_in
from tests.world import PASSWORD, Company, World

PAT = "pat@both.example"
CODE_PAGE = "/accounts/second-factor/code/"
WAIVED = "/accounts/second-factor/waived/"
SET_UP = "/accounts/second-factor/company/"


class Clock:
    """The time step of every authenticator app."""

    counter = 59_000_000

    def code(self, secret: str) -> str:
        """Return what an app with this secret shows now."""
        return str(format_hotp_value(hotp_value(secret, self.counter)))

    def tick(self) -> None:
        """Let the next codes be others."""
        self.counter += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    module = "allauth.mfa.totp.internal.auth"
    monkeypatch.setattr(f"{module}.yield_hotp_counters_from_time", lambda: iter([made.counter]))
    return made


def set_up_account_factor(clock: Clock, email: str = PAT) -> str:
    """Give an account a second factor, and return its secret."""
    client = sign_in(email)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    secret: str = client.get("/accounts/second-factor/app/on/").context["form"].secret
    client.post("/accounts/second-factor/app/on/", {"code": clock.code(secret)})
    clock.tick()
    return secret


@pytest.fixture
def account_secret(world: World, clock: Clock) -> str:
    """Pat, who is in both companies, has a second factor."""
    return set_up_account_factor(clock)


@pytest.fixture
def waived(world: World, account_secret: str) -> Client:
    """Acme waived it, and pat went in with the password alone."""
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    return enter_waived(world.acme)


def enter_waived(company: Company) -> Client:
    client = sign_in(PAT)
    client.post(WAIVED, {"membership": str(company.pat.pk)})
    return client


def set_up_company_factor(client: Client, clock: Clock) -> str:
    secret: str = client.get(SET_UP).context["form"].secret
    client.post(SET_UP, {"code": clock.code(secret)})
    clock.tick()
    return secret


def opened(client: Client) -> str | None:
    """Return the short name of the company that a browser acts for, None for none."""
    principal = get_session_principal(User.objects.get(email=PAT), client.session)
    return principal.tenant.slug if principal else None


def events(company: Company, action: str) -> list[AuditEvent]:
    with company.scope():
        return list(AuditEvent.objects.filter(action=action).order_by("created_at"))


def test_without_a_waiver_the_code_page_offers_no_way_around(
    world: World, account_secret: str
) -> None:
    client = sign_in(PAT)
    assert WAIVED not in client.get(CODE_PAGE).content.decode()
    assert client.post(WAIVED, {"membership": str(world.acme.pat.pk)}).status_code == 404
    assert "_auth_user_id" not in client.session


def test_the_waived_company_alone_is_offered(world: World, account_secret: str) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    page = sign_in(PAT).get(CODE_PAGE).content.decode()
    assert str(world.acme.pat.pk) in page
    assert str(world.globex.pat.pk) not in page


def test_a_waiver_of_one_company_opens_no_other(world: World, account_secret: str) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    for wanted in (world.globex.pat, world.globex.gina, world.acme.alice):
        client = sign_in(PAT)
        assert client.post(WAIVED, {"membership": str(wanted.pk)}).status_code == 404
        assert "_auth_user_id" not in client.session


def test_a_waiver_does_not_take_the_place_of_the_password(
    world: World, account_secret: str
) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    client = sign_in(PAT, "wrong")
    assertRedirects(client.post(WAIVED, {"membership": str(world.acme.pat.pk)}), "/accounts/login/")


def test_nothing_opens_before_a_new_factor_is_set_up(waived: Client) -> None:
    assert opened(waived) is None
    for path in ("/", "/companies/", "/no-company/"):
        assert waived.get(path, follow=True).redirect_chain[-1][0] == SET_UP
    assert waived.get("/keys/").status_code == 403
    assert waived.get("/page/threads").status_code == 401


def test_a_wrong_code_sets_nothing_up(world: World, waived: Client) -> None:
    waived.get(SET_UP)
    answer = waived.post(SET_UP, {"code": "000000"})
    assert answer.status_code == 400
    assert opened(waived) is None
    with world.acme.scope():
        assert not CompanyFactor.objects.exists()


def test_the_new_factor_opens_the_company(world: World, waived: Client, clock: Clock) -> None:
    set_up_company_factor(waived, clock)
    assert opened(waived) == "acme"
    assert world.acme.canary in waived.get("/").content.decode()


def test_the_secret_is_encrypted_in_the_database(
    world: World, waived: Client, clock: Clock
) -> None:
    secret = set_up_company_factor(waived, clock)
    with world.acme.scope():
        assert secret not in CompanyFactor.objects.get().secret


def test_a_waiver_is_good_once(world: World, waived: Client) -> None:
    again = sign_in(PAT)
    assert again.post(WAIVED, {"membership": str(world.acme.pat.pk)}).status_code == 404


def test_a_waiver_ends_by_itself(world: World, account_secret: str) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    with world.acme.scope():
        Membership.objects.filter(pk=world.acme.pat.pk).update(
            factor_waived_until=timezone.now() - timedelta(seconds=1)
        )
    assert opened(enter_waived(world.acme)) is None


def test_a_sign_in_with_the_account_factor_ends_the_waiver(
    world: World, account_secret: str, clock: Clock
) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    client = sign_in(PAT)
    client.post(CODE_PAGE, {"code": clock.code(account_secret)})
    assert "_auth_user_id" in client.session
    assert sign_in(PAT).post(WAIVED, {"membership": str(world.acme.pat.pk)}).status_code == 404


def test_later_sign_ins_take_the_code_of_the_company(
    world: World, waived: Client, clock: Clock
) -> None:
    secret = set_up_company_factor(waived, clock)
    client = sign_in(PAT)
    client.post(CODE_PAGE, {"code": clock.code(secret)})
    assert opened(client) == "acme"
    # The same code opens nothing a second time.
    replayed = sign_in(PAT)
    replayed.post(CODE_PAGE, {"code": clock.code(secret)})
    assert "_auth_user_id" not in replayed.session


def test_the_account_factor_still_opens_everything(
    world: World, waived: Client, account_secret: str, clock: Clock
) -> None:
    set_up_company_factor(waived, clock)
    client = sign_in(PAT)
    client.post(CODE_PAGE, {"code": clock.code(account_secret)})
    for company in (world.acme, world.globex):
        client.post("/switch/", {"membership": str(company.pat.pk)})
        assert opened(client) == company.tenant.slug


def change_password(email: str) -> None:
    user = User.objects.get(email=email)
    user.set_password("another-horse-43")
    user.save()


def test_a_sign_in_that_began_with_a_former_password_uses_no_waiver(
    world: World, account_secret: str
) -> None:
    begun = sign_in(PAT)
    change_password(PAT)
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    assertRedirects(begun.post(WAIVED, {"membership": str(world.acme.pat.pk)}), "/accounts/login/")
    assert "_auth_user_id" not in begun.session
    with world.acme.scope():
        assert Membership.objects.get(pk=world.acme.pat.pk).factor_waived_until is not None


def test_a_sign_in_that_began_with_a_former_password_takes_no_code(
    world: World, account_secret: str, clock: Clock
) -> None:
    begun = sign_in(PAT)
    change_password(PAT)
    begun.post(CODE_PAGE, {"code": clock.code(account_secret)})
    assert "_auth_user_id" not in begun.session
    assert begun.get(CODE_PAGE)["Location"] == "/accounts/login/"


@pytest.fixture
def limited(waived: Client, clock: Clock) -> Client:
    """A browser with the company's own second factor."""
    set_up_company_factor(waived, clock)
    return waived


def test_switching_to_another_company_demands_the_account_factor(
    world: World, limited: Client
) -> None:
    answer = limited.post("/switch/", {"membership": str(world.globex.pat.pk)})
    assert answer["Location"] == "/accounts/login/"
    assert "_auth_user_id" not in limited.session


def test_other_companies_are_not_even_named(world: World, limited: Client) -> None:
    for path in ("/", "/companies/", "/profile/"):
        page = limited.get(path).content.decode()
        assert str(world.globex.pat.pk) not in page
        assert world.globex.canary not in page


def test_a_forged_choice_opens_nothing(world: World, limited: Client) -> None:
    session = limited.session
    session["membership"] = {**session["membership"], "id": str(world.globex.pat.pk)}
    session["membership"]["tenant"] = str(world.globex.tenant.pk)
    session.save()
    assert opened(limited) is None


ACCOUNT_PAGES = [
    "password/change/",
    "second-factor/",
    "second-factor/app/on/",
    "second-factor/app/off/",
    "second-factor/recovery-codes/",
    "second-factor/recovery-codes/new/",
    "second-factor/recovery-codes/file/",
    "sign-ins/",
]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("path", ACCOUNT_PAGES)
def test_what_belongs_to_the_account_stays_closed(limited: Client, path: str, method: str) -> None:
    limited.post("/accounts/reauthenticate/", {"password": PASSWORD})
    answer = getattr(limited, method)(f"/accounts/{path}")
    assert answer.status_code == 403
    assert "two-factor authentication" in answer.content.decode()
    assert Authenticator.objects.filter(user__email=PAT).count() == 2


def test_invitations_of_other_companies_are_not_accepted(world: World, limited: Client) -> None:
    with world.globex.scope():
        Membership.objects.filter(pk=world.globex.pat.pk).update(removed_at=timezone.now())
    _row, token = invite(world.globex.principal("otto"), PAT)
    assert limited.post(f"/invitations/{token}/", {"name": "Pat"}).status_code == 403
    with world.globex.scope():
        assert Membership.objects.get(pk=world.globex.pat.pk).removed_at is not None


def test_an_operators_rights_stay_closed(world: World, limited: Client) -> None:
    User.objects.filter(email=PAT).update(is_superuser=True, is_staff=True)
    assert limited.get("/admin/companies/").status_code == 403
    with pytest.raises(NotAllowed):
        enter_tenant(User.objects.get(email=PAT), limited.session, world.globex.tenant.pk)
    session = limited.session
    session["operated_tenant"] = str(world.globex.tenant.pk)
    session.save()
    assert opened(limited) == "acme"


def test_waiving_again_ends_the_former_factor_of_the_company(world: World, limited: Client) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.pat.pk)
    with world.acme.scope():
        assert not CompanyFactor.objects.exists()


def test_owners_alone_waive_and_not_for_themselves(world: World) -> None:
    for name in ("adam", "alice", "pat"):
        with pytest.raises(NotAllowed):
            waive_second_factor(world.acme.principal(name), world.acme.bob.pk)
    with pytest.raises(NotAllowed):
        waive_second_factor(world.acme.principal("olga"), world.acme.olga.pk)
    with pytest.raises(NotFound):
        waive_second_factor(world.acme.principal("olga"), world.globex.gina.pk)


def test_the_owner_is_not_told_whether_there_is_a_factor(world: World, account_secret: str) -> None:
    owner = world.acme.client("olga")
    answers = []
    for member in (world.acme.pat, world.acme.alice):
        url = f"/admin/tenants/membership/{member.pk}"
        answer = owner.post(f"{url}/do/waive-second-factor/", follow=True)
        page = re.sub(r'name="(csrfmiddlewaretoken|seen)" value="\w+"', "", answer.content.decode())
        for own in (str(member.pk), member.name, member.email):
            page = page.replace(own, "MEMBER")
        answers.append(re.sub(r"\d\d?:\d\d( [ap]\.m\.)?|midnight|noon", "", page))
    assert "once without two-factor authentication" in answers[0]
    assert answers[0] == answers[1]


def test_admins_see_no_such_button(world: World) -> None:
    url = f"/admin/tenants/membership/{world.acme.alice.pk}/"
    button = "do/waive-second-factor"
    assert button in world.acme.client("olga").get(f"{url}change/").content.decode()
    admin = world.acme.client("adam")
    assert button not in admin.get(f"{url}change/").content.decode()
    admin.post(f"{url}{button}/")
    with world.acme.scope():
        assert Membership.objects.get(pk=world.acme.alice.pk).factor_waived_until is None


def test_the_waiver_is_recorded_and_mailed(
    world: World, settings: Settings, mailoutbox: list[object]
) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    waive_second_factor(world.acme.principal("olga"), world.acme.alice.pk)
    (event,) = events(world.acme, "member.second_factor_waived")
    assert event.data == {"member": str(world.acme.alice.pk)}
    (mail,) = mailoutbox
    assert mail.to == ["alice@acme.example"]  # type: ignore[attr-defined]


def test_nothing_is_mailed_without_mail(world: World, mailoutbox: list[object]) -> None:
    waive_second_factor(world.acme.principal("olga"), world.acme.alice.pk)
    remove_second_factor(world.operator, "alice@acme.example")
    assert mailoutbox == []


def test_the_command_waives(world: World, account_secret: str) -> None:
    call_command("waive_second_factor", PAT, "--tenant", "acme", "--json")
    assert "_auth_user_id" in enter_waived(world.acme).session
    with pytest.raises(CommandError, match="not a member of acme"):
        call_command("waive_second_factor", "gina@globex.example", "--tenant", "acme")


def test_the_operators_page_removes_every_factor(
    world: World, limited: Client, settings: Settings, mailoutbox: list[object]
) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    page = world.operator_client()
    answer = page.post("/admin/companies/second-factor/", {"factor-email": PAT}, follow=True)
    assert "Two-factor authentication was removed for" in answer.content.decode()
    with world.acme.scope():
        assert not CompanyFactor.objects.exists()
    assert chosen(sign_in(PAT)) is None  # signed in, with two companies to choose from
    assert "_auth_user_id" in sign_in(PAT).session
    assert [mail.to for mail in mailoutbox] == [[PAT]]  # type: ignore[attr-defined]
    for company in (world.acme, world.globex):
        assert events(company, "account.second_factor_changed")[-1].actor == (
            "operator operator@atrium.example"
        )


def test_the_operators_page_says_that_an_account_is_unknown(world: World) -> None:
    answer = world.operator_client().post(
        "/admin/companies/second-factor/", {"factor-email": "nobody@nowhere.example"}
    )
    assert answer.context["factor"].errors["email"]


def test_the_command_removes_every_factor(world: World, account_secret: str) -> None:
    call_command("remove_second_factor", PAT, "--json")
    assert not Authenticator.objects.filter(user__email=PAT).exists()
    with pytest.raises(CommandError, match="No account"):
        call_command("remove_second_factor", "nobody@nowhere.example")
