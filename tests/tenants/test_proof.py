"""Accounts without a proven address: what they open, and what ends when they are trusted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from allauth.usersessions.models import UserSession
from django.contrib.auth import authenticate
from django.core.management.base import CommandError
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from pytest_django import Settings

from tenants.accounts.adapter import ClosedAccountAdapter
from tenants.actions import (
    accept_invitation,
    add_member,
    create_api_key,
    create_operator,
    create_tenant,
    enter_tenant,
    invite,
    make_reset_link,
    remove_member,
)
from tenants.asgi import _authenticate
from tenants.authentication import (
    authenticate_key,
    choose_membership,
    get_console_principal,
    get_run_principal,
    get_session_principal,
    list_memberships,
)
from tenants.errors import (
    AccessDenied,
    Invalid,
    InvalidApiKey,
    InvalidInvitation,
    NotAllowed,
    SignInRequired,
    UnverifiedAddress,
)
from tenants.models import ApiKey, AuditEvent, Membership, User
from tests.tenants.test_commands import run
from tests.tenants.test_sign_in import LOGIN, chosen, sign_in
from tests.world import World, signed_in_session

VICTIM = "victim@globex.example"
THEIRS, OWN = "attacker-knows-7", "grape-fresh-77"


@dataclass(kw_only=True)
class Hijack:
    """An account that an admin of acme made in somebody's name, and what they hold of it."""

    client: Client
    user: User
    membership: Membership
    key: str


@pytest.fixture
def hijack(world: World) -> Hijack:
    """Without mail the admin who invites is shown the link, and uses it."""
    _row, token = invite(world.acme.principal("adam"), VICTIM)
    client = Client()
    client.post(f"/invitations/{token}/", {"name": "Victor", "password": THEIRS})
    client.get("/profile/")
    user = User.objects.get(email=VICTIM)
    Authenticator.objects.create(user=user, type="totp", data={"secret": "sealed"})
    [membership] = list_memberships(user)
    principal = get_session_principal(user, client.session)
    assert principal is not None
    _key, secret = create_api_key(principal, name="Kept")
    return Hijack(client=client, user=user, membership=membership, key=secret)


def use_link(link: str, password: str = OWN) -> Client:
    """Set a password through a link, and return the client that did."""
    client = Client()
    page = client.get("/" + link.split("/", 3)[3], follow=True)
    client.post(page.redirect_chain[-1][0], {"password1": password, "password2": password})
    return client


def join_globex(world: World, user: User) -> Membership:
    """Make somebody a member of globex past every action."""
    with world.globex.scope():
        made: Membership = Membership.objects.create(
            tenant=world.globex.tenant, user=user, name="Victor", email=user.email, role="owner"
        )
    return made


def opens(secret: str) -> bool:
    try:
        return authenticate_key(secret).key is not None
    except InvalidApiKey:
        return False


def assert_nothing_is_left(hijack: Hijack) -> None:
    """Nothing that the maker of the account held opens anything."""
    assert hijack.client.get("/profile/").status_code == 302
    assert not UserSession.objects.filter(user=hijack.user).exists()
    assert not Authenticator.objects.filter(user=hijack.user).exists()
    assert not User.objects.get(email=VICTIM).check_password(THEIRS)
    assert not opens(hijack.key)


def test_an_account_by_a_shown_link_opens_the_company_that_made_it(
    world: World, hijack: Hijack
) -> None:
    assert hijack.user.address_proven_at is None
    assert chosen(hijack.client) == str(hijack.membership.pk)
    assert opens(hijack.key)


def test_without_proof_no_other_company_opens(world: World, hijack: Hijack) -> None:
    other = join_globex(world, hijack.user)
    page = hijack.client.get("/companies/").content.decode()
    assert world.globex.tenant.name not in page
    assert hijack.client.post("/switch/", {"membership": str(other.pk)}).status_code == 404
    session = signed_in_session(hijack.user)
    choose_membership(session, other)
    session.save()
    assert get_session_principal(hijack.user, session) is None
    assert _authenticate(str(session.session_key)) is None
    with world.globex.scope():
        assert get_run_principal(world.globex.tenant.pk, other.pk, None) is None


def test_without_proof_a_key_of_another_company_opens_nothing(world: World, hijack: Hijack) -> None:
    other = join_globex(world, hijack.user)
    _key, secret = create_api_key(get_console_principal("globex"), name="X", member_id=other.pk)
    with pytest.raises(InvalidApiKey):
        authenticate_key(secret)
    User.objects.filter(pk=hijack.user.pk).update(address_proven_at="2026-01-01T00:00Z")
    assert authenticate_key(secret).membership_id == other.pk


def test_an_operator_without_proof_operates_nothing(world: World) -> None:
    User.objects.filter(pk=world.operator.pk).update(address_proven_at=None)
    operator = User.objects.get(pk=world.operator.pk)
    client = world.operator_client()
    assert client.get("/admin/companies/").status_code == 403
    with pytest.raises(NotAllowed):
        enter_tenant(operator, client.session, world.acme.tenant.pk)
    with pytest.raises(NotAllowed):
        make_reset_link(operator, "alice@acme.example", base_url="http://x")


def test_an_operator_inside_a_company_leaves_it_with_the_proof(world: World) -> None:
    session = signed_in_session(world.operator)
    enter_tenant(world.operator, session, world.acme.tenant.pk)
    world.operator.address_proven_at = None
    assert get_session_principal(world.operator, session) is None


def test_create_user_ends_what_the_maker_of_an_account_holds(world: World, hijack: Hijack) -> None:
    found = run("create_user", VICTIM, "--tenant", "globex", "--role", "owner")
    assert found["created"] is False
    assert_nothing_is_left(hijack)
    use_link(found["password_link"])
    client = sign_in(VICTIM, OWN)
    assert client.post("/switch/", {"membership": found["id"]})["Location"] == "/"
    assert chosen(client) == found["id"]


def test_create_operator_ends_what_the_maker_of_an_account_holds(
    world: World, hijack: Hijack
) -> None:
    found = run("create_operator", VICTIM, "--existing")
    assert_nothing_is_left(hijack)
    assert not User.objects.get(email=VICTIM).is_operator
    use_link(found["password_link"])
    assert sign_in(VICTIM, OWN).get("/admin/companies/").status_code == 200


def test_the_end_of_keys_is_on_the_record_of_their_company(world: World, hijack: Hijack) -> None:
    add_member(get_console_principal("globex"), VICTIM)
    with world.acme.scope():
        [event] = AuditEvent.objects.filter(action="key.revoked")
        assert event.data["key"] == str(ApiKey.objects.get(name="Kept").pk)


@pytest.mark.parametrize(
    "command",
    [
        ("create_user", VICTIM, "--tenant", "acme"),  # a member already
        ("create_user", VICTIM, "--tenant", "globex", "--password", OWN),
        ("create_operator", VICTIM),
        ("create_operator", VICTIM, "--existing", "--password", OWN),
    ],
    ids=" ".join,
)
def test_a_refused_command_ends_nothing(
    world: World, hijack: Hijack, command: tuple[str, ...]
) -> None:
    with pytest.raises(CommandError):
        run(*command)
    assert hijack.client.get("/profile/").status_code == 200
    assert opens(hijack.key)
    assert not User.objects.get(email=VICTIM).is_superuser


def test_a_proven_account_keeps_everything(world: World) -> None:
    client = world.globex.client("gina")
    found = run("create_user", "gina@globex.example", "--tenant", "acme", "--role", "admin")
    assert "password_link" not in found
    assert client.get("/profile/").status_code == 200
    assert opens(world.globex.key_secrets["gina"])


def test_an_account_disabled_in_its_company_is_still_a_members(
    world: World, hijack: Hijack
) -> None:
    with world.acme.scope():
        Membership.objects.filter(pk=hijack.membership.pk).update(disabled_at="2026-01-01T00:00Z")
    with pytest.raises(Invalid):
        create_operator(VICTIM)


def test_a_link_for_a_new_password_proves_and_ends_what_was_before(
    world: World, hijack: Hijack
) -> None:
    link = make_reset_link(world.operator, VICTIM, base_url="http://testserver")
    page = use_link(link).get(LOGIN).content.decode()
    assert "confirmed" in page
    assert_nothing_is_left(hijack)
    assert User.objects.get(email=VICTIM).address_proven_at is not None


def test_a_second_link_leaves_second_factor_and_keys_alone(world: World, hijack: Hijack) -> None:
    use_link(make_reset_link(world.operator, VICTIM, base_url="http://testserver"))
    Authenticator.objects.create(user=hijack.user, type="totp", data={"secret": "sealed"})
    use_link(make_reset_link(world.operator, VICTIM, base_url="http://testserver"), "other-grape-9")
    assert Authenticator.objects.filter(user=hijack.user).exists()


def test_another_companys_invitation_waits_for_the_proof(world: World, hijack: Hijack) -> None:
    _row, token = invite(world.globex.principal("greta"), VICTIM)
    answer = hijack.client.post(f"/invitations/{token}/", {"name": "Victor"})
    assert answer.status_code == 400
    assert UnverifiedAddress().message in answer.content.decode().replace("&quot;", '"')
    use_link(make_reset_link(world.operator, VICTIM, base_url="http://testserver"))
    client = sign_in(VICTIM, OWN)
    client.post(f"/invitations/{token}/", {"name": "Victor"})
    assert client.session["membership"]["tenant"] == str(world.globex.tenant.pk)


def test_an_invitation_looks_the_same_with_and_without_proof(world: World, hijack: Hijack) -> None:
    pages = []
    for address in (VICTIM, "gina@globex.example", "nobody@globex.example"):
        if address == "gina@globex.example":
            remove_member(world.globex.principal("greta"), world.globex.gina.pk)
        _row, token = invite(world.globex.principal("greta"), address)
        text = Client().get(f"/invitations/{token}/").content.decode()
        text = text.replace(token, "TOKEN").replace(address, "ADDRESS")
        pages.append("\n".join(line for line in text.splitlines() if "csrf" not in line))
        if address != "nobody@globex.example":
            with pytest.raises(SignInRequired):
                accept_invitation(token, user=None, name="V", password=OWN)
    assert pages[0] == pages[1] == pages[2]
    assert User.objects.get(email=VICTIM).check_password(THEIRS)


def test_the_company_that_made_an_account_may_invite_it_again(world: World, hijack: Hijack) -> None:
    remove_member(world.acme.principal("adam"), hijack.membership.pk)
    _row, token = invite(world.acme.principal("adam"), VICTIM)
    client = Client()
    client.force_login(hijack.user)
    client.post(f"/invitations/{token}/", {"name": "Victor"})
    assert chosen(client) == str(hijack.membership.pk)


def test_a_mailed_invitation_proves_a_new_account(world: World, settings: Settings) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    _row, token = invite(world.globex.principal("greta"), VICTIM)
    accept_invitation(token, user=None, name="Victor", password=OWN)
    assert User.objects.get(email=VICTIM).address_proven_at is not None


def test_an_invitation_of_the_operators_proves_a_new_account(world: World) -> None:
    _row, token = invite(get_console_principal("globex"), VICTIM)
    accept_invitation(token, user=None, name="Victor", password=OWN)
    assert User.objects.get(email=VICTIM).address_proven_at is not None


def test_a_mailed_invitation_takes_an_account_over(
    world: World, hijack: Hijack, settings: Settings
) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    _row, token = invite(world.globex.principal("greta"), VICTIM)
    client = Client()
    client.post(f"/invitations/{token}/", {"name": "Victor", "password": OWN})
    assert client.session["membership"]["tenant"] == str(world.globex.tenant.pk)
    UserSession.objects.filter(session_key=client.session.session_key).delete()
    assert_nothing_is_left(hijack)
    assert chosen(sign_in(VICTIM, OWN)) is None  # two companies to choose from


def test_a_mailed_invitation_asks_who_is_signed_in_without_proof_for_a_new_password(
    world: World, hijack: Hijack, settings: Settings
) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    _row, token = invite(world.globex.principal("greta"), VICTIM)
    page = hijack.client.post(f"/invitations/{token}/", {"name": "Victor"})
    assert page.status_code == 400
    answer = hijack.client.post(f"/invitations/{token}/", {"name": "Victor", "password": OWN})
    assert answer["Location"] == "/"
    assert hijack.client.get("/profile/").status_code == 200
    assert not User.objects.get(email=VICTIM).check_password(THEIRS)


def test_a_mailed_invitation_takes_no_proven_account_over(world: World, settings: Settings) -> None:
    settings.EMAIL_URL = "smtp://mail.example"
    _row, token = invite(world.acme.principal("adam"), "gina@globex.example")
    with pytest.raises(SignInRequired):
        accept_invitation(token, user=None, name="G", password=OWN)


def test_links_from_before_mail_was_set_up_prove_nothing(world: World, settings: Settings) -> None:
    _row, token = invite(world.globex.principal("greta"), VICTIM)
    settings.EMAIL_URL = "smtp://mail.example"
    accept_invitation(token, user=None, name="Victor", password=OWN)
    assert User.objects.get(email=VICTIM).address_proven_at is None


def test_a_sign_in_under_way_while_the_operator_joins_opens_nothing(
    world: World, hijack: Hijack
) -> None:
    Authenticator.objects.all().delete()
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = "192.0.2.1"
    user = authenticate(request, email=VICTIM, password=THEIRS)
    assert user is not None
    made, _created = add_member(get_console_principal("globex"), VICTIM)
    client = Client()
    client.force_login(user)
    assert client.get("/profile/").status_code == 302
    session = client.session
    choose_membership(session, made)
    session.save()
    assert _authenticate(str(session.session_key)) is None


def test_a_password_change_under_way_while_the_operator_joins_is_refused(
    world: World, hijack: Hijack, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = {"oldpassword": THEIRS, "password1": "again-mine-99", "password2": "again-mine-99"}
    set_password = ClosedAccountAdapter.set_password

    def set_late(self: ClosedAccountAdapter, user: User, password: str) -> None:
        add_member(get_console_principal("globex"), VICTIM)
        set_password(self, user, password)

    monkeypatch.setattr(ClosedAccountAdapter, "set_password", set_late)
    assert hijack.client.post("/accounts/password/change/", form)["Location"] == LOGIN
    assert not User.objects.get(email=VICTIM).has_usable_password()


def test_a_key_made_in_a_request_under_way_while_the_operator_joins_is_refused(
    world: World, hijack: Hijack
) -> None:
    principal = get_session_principal(hijack.user, hijack.client.session)
    assert principal is not None
    add_member(get_console_principal("globex"), VICTIM)
    with pytest.raises(AccessDenied):
        create_api_key(principal, name="Late")


def test_a_second_factor_set_up_while_the_operator_joins_is_dropped(
    world: World, hijack: Hijack
) -> None:
    stale = User.objects.get(email=VICTIM)
    add_member(get_console_principal("globex"), VICTIM)
    late = Authenticator.objects.create(user=stale, type="totp", data={"secret": "sealed"})
    authenticator_added.send(sender=Authenticator, request=None, user=stale, authenticator=late)
    assert not Authenticator.objects.filter(user=stale).exists()


def test_a_hash_renewed_at_sign_in_does_not_bring_an_ended_password_back(
    world: World, hijack: Hijack, settings: Settings
) -> None:
    stale = User.objects.get(email=VICTIM)
    add_member(get_console_principal("globex"), VICTIM)
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[1:] + settings.PASSWORD_HASHERS[:1]
    assert stale.check_password(THEIRS)
    assert not User.objects.get(email=VICTIM).has_usable_password()


def test_pages_say_what_an_account_without_proof_lacks(world: World, hijack: Hijack) -> None:
    assert "not confirmed yet" in hijack.client.get("/profile/").content.decode()
    assert "not confirmed yet" not in world.acme.client("alice").get("/profile/").content.decode()


def at_once(*calls: Callable[[], object]) -> list[bool]:
    """Make the calls in threads of their own; return which were not refused."""

    def call(made: Callable[[], object]) -> bool:
        try:
            made()
        except (SignInRequired, InvalidInvitation, Invalid):
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_two_links_that_prove_used_at_once_leave_one_password(
    world: World, hijack: Hijack, settings: Settings
) -> None:
    first = invite(get_console_principal("globex"), VICTIM)[1]
    settings.EMAIL_URL = "smtp://mail.example"
    tenant = create_tenant(None, "initech", name="Initech")
    second = invite(get_console_principal(tenant.slug), VICTIM)[1]
    done = at_once(
        lambda: accept_invitation(first, user=None, name="Victor", password=OWN),
        lambda: accept_invitation(second, user=None, name="Victor", password="other-grape-9"),
    )
    assert sorted(done) == [False, True]
    user = User.objects.get(email=VICTIM)
    assert user.check_password(OWN) is done[0]
    assert user.check_password("other-grape-9") is done[1]
    assert not opens(hijack.key)


def test_an_account_made_while_the_operator_makes_it_is_trusted_by_nobody(world: World) -> None:
    _row, token = invite(world.acme.principal("adam"), VICTIM)
    done = at_once(
        lambda: accept_invitation(token, user=None, name="Victor", password=THEIRS),
        lambda: add_member(get_console_principal("globex"), VICTIM),
    )
    assert done[1]
    user = User.objects.get(email=VICTIM)
    # Either the operator made it, or what the other had chosen has ended.
    assert (user.address_proven_at is not None) is not done[0]
    assert not user.check_password(THEIRS)
