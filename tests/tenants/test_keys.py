"""API keys: for whom they are made, what they open, and when they stop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tenants import actions
from tenants.actions.keys import compute_checksum
from tenants.authentication import (
    Principal,
    authenticate_key,
    get_console_principal,
    get_run_principal,
)
from tenants.db import call_privileged
from tenants.errors import (
    AccessDenied,
    AtriumError,
    Invalid,
    MissingScope,
    NotAllowed,
    NotFound,
    TooManyKeys,
)
from tenants.models import ApiKey, AuditEvent, Membership, User
from tests.world import Company, World


def test_key_opens_what_its_member_may(world: World) -> None:
    key, secret = actions.create_api_key(world.acme.principal("alice"), name="Script")
    principal = authenticate_key(secret)
    assert (principal.tenant_id, principal.membership_id) == (
        world.acme.tenant.pk,
        world.acme.alice.pk,
    )
    assert (principal.key, principal.is_admin) == (key, False)


def test_key_is_kept_as_a_hash_with_its_beginning(world: World) -> None:
    key, secret = actions.create_api_key(world.acme.principal("alice"), name="Script")
    with world.acme.scope():
        kept = ApiKey.objects.filter(pk=key.pk).values().get()
    assert secret not in str(kept)
    assert secret.startswith(kept["prefix"])
    assert secret == f"atr_{secret[4:-6]}{compute_checksum(secret[4:-6])}"


@pytest.mark.parametrize(
    ("name", "refused"), [("alice", NotFound), ("adam", NotAllowed), ("olga", NotAllowed)]
)
def test_nobody_makes_keys_of_other_people(
    world: World, name: str, refused: type[AtriumError]
) -> None:
    with pytest.raises(refused):
        actions.create_api_key(
            world.acme.principal(name), name="Script", member_id=world.acme.bob.pk
        )


def test_owner_makes_no_key_for_a_foreign_member(world: World) -> None:
    with pytest.raises(NotFound):
        actions.create_api_key(
            world.acme.principal("olga"), name="Script", member_id=world.globex.gina.pk
        )


@pytest.mark.parametrize("scopes", [[], ["everything"], ["read", "root"]])
def test_unknown_scopes_are_refused(world: World, scopes: list[str]) -> None:
    with pytest.raises(Invalid):
        actions.create_api_key(world.acme.principal("olga"), name="Script", scopes=scopes)


def test_key_that_is_past_at_birth_is_refused(world: World) -> None:
    past = timezone.now() - timedelta(seconds=1)
    with pytest.raises(Invalid):
        actions.create_api_key(world.acme.principal("olga"), name="Script", expires_at=past)


def test_revoked_key_opens_nothing(world: World) -> None:
    actions.revoke_api_key(world.acme.principal("olga"), world.acme.keys["alice"].pk)
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["alice"])


def test_key_that_was_just_used_opens_nothing_once_it_is_revoked(world: World) -> None:
    secret = world.acme.key_secrets["alice"]
    authenticate_key(secret)
    actions.revoke_api_key(world.acme.principal("olga"), world.acme.keys["alice"].pk)
    with pytest.raises(AccessDenied):
        authenticate_key(secret)


def test_key_whose_secret_is_another_one_now_is_not_opened_by_the_former(world: World) -> None:
    secret = world.acme.key_secrets["alice"]
    authenticate_key(secret)
    with world.acme.scope():
        ApiKey.objects.filter(pk=world.acme.keys["alice"].pk).update(secret_hash="0" * 64)
    with pytest.raises(AccessDenied):
        authenticate_key(secret)


def test_expired_key_opens_nothing(world: World) -> None:
    with world.acme.scope():
        ApiKey.objects.filter(pk=world.acme.keys["alice"].pk).update(expires_at=timezone.now())
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["alice"])


def test_key_of_a_disabled_member_opens_nothing(world: World) -> None:
    actions.disable_member(world.acme.principal("adam"), world.acme.alice.pk)
    with pytest.raises(AccessDenied):
        authenticate_key(world.acme.key_secrets["alice"])


@pytest.mark.parametrize("secret", ["", "atr_", "x", "atr_\x00", "atr_ü"])
def test_nonsense_is_no_key(world: World, secret: str) -> None:
    with pytest.raises(AccessDenied):
        authenticate_key(secret)


def test_foreign_key_is_revoked_by_nobody_here(world: World) -> None:
    with pytest.raises(NotFound):
        actions.revoke_api_key(world.acme.principal("olga"), world.globex.keys["otto"].pk)


@pytest.mark.parametrize("name", ["alice", "adam"])
def test_owners_alone_make_programs(world: World, name: str) -> None:
    with pytest.raises(NotAllowed):
        actions.create_api_key(world.acme.principal(name), name="Shop", program="Shop")


def test_admins_make_no_key_of_a_program_that_is_there(world: World) -> None:
    program = shop(world.acme).membership_id
    with pytest.raises(NotAllowed, match="owner"):
        actions.create_api_key(world.acme.principal("adam"), name="Next", member_id=program)


def test_one_member_has_so_many_keys(world: World, settings: Settings) -> None:
    settings.KEYS_PER_MEMBER = 2
    alice, bob = world.acme.principal("alice"), world.acme.principal("bob")
    actions.create_api_key(alice, name="Second")
    with pytest.raises(TooManyKeys):
        actions.create_api_key(alice, name="Third")
    actions.create_api_key(bob, name="First")
    actions.revoke_api_key(alice, world.acme.keys["alice"].pk)
    actions.create_api_key(alice, name="Third")


def test_one_program_has_so_many_keys(world: World, settings: Settings) -> None:
    settings.KEYS_PER_MEMBER = 1
    program = shop(world.acme).membership_id
    with pytest.raises(TooManyKeys):
        actions.create_api_key(world.acme.principal("olga"), name="Next", member_id=program)


def test_program_is_an_admin_where_its_key_has_the_scope(world: World) -> None:
    roles = []
    for scopes in (["read", "write"], ["read", "write", "admin"]):
        key, _secret = shop_key(world.acme, *scopes)
        roles.append(key.membership.role)
    assert roles == ["member", "admin"]


def test_key_of_a_program_opens_chats_of_its_own(world: World) -> None:
    key, secret = shop_key(world.acme)
    principal = authenticate_key(secret)
    assert principal.membership_id == key.membership_id
    assert principal.membership_id not in {row.pk for row in world.acme.people.values()}


def test_operator_in_a_company_makes_no_keys_of_people(world: World) -> None:
    operator = Principal(
        tenant=world.acme.tenant, membership=None, role="owner", operator=world.operator
    )
    with pytest.raises(NotAllowed):
        actions.create_api_key(operator, name="Script", member_id=world.acme.bob.pk)


def test_command_line_makes_a_key_for_anybody(world: World) -> None:
    key, _secret = actions.create_api_key(
        get_console_principal("acme"), name="Script", member_id=world.acme.bob.pk
    )
    assert key.membership_id == world.acme.bob.pk


def test_keys_make_no_keys(world: World) -> None:
    principal = authenticate_key(world.acme.key_secrets["olga"])
    with pytest.raises(NotAllowed):
        actions.create_api_key(principal, name="Next")


@pytest.mark.parametrize("role", ["owner", "emperor"])
def test_programs_own_nothing(world: World, role: str) -> None:
    key, _secret = shop_key(world.acme)
    with pytest.raises(Invalid):
        actions.change_role(world.acme.principal("olga"), key.membership_id, role=role)


def shop_key(company: Company, *scopes: str) -> tuple[ApiKey, str]:
    owner = next(name for name, person in company.people.items() if person.role == "owner")
    return actions.create_api_key(
        company.principal(owner),
        name="Shop",
        program="Shop",
        scopes=scopes or ("read", "write", "act_for_users"),
    )


def shop(company: Company) -> Principal:
    return authenticate_key(shop_key(company)[1])


def test_first_use_makes_a_member_who_is_the_same_afterwards(world: World) -> None:
    program = shop(world.acme)
    first, again = (actions.act_for_user(program, "customer-77") for _time in range(2))
    assert first.membership_id == again.membership_id != program.membership_id
    assert (first.role, first.key, first.is_admin) == ("member", program.key, False)
    with world.acme.scope():
        assert AuditEvent.objects.filter(action="member.external").count() == 1


def test_the_same_id_of_two_programs_names_two_users(world: World) -> None:
    first, second = (actions.act_for_user(shop(world.acme), "customer-77") for _time in range(2))
    assert first.membership_id != second.membership_id


def test_first_uses_at_the_same_time_make_one_member(world: World) -> None:
    program = shop(world.acme)

    def use(_number: int) -> object:
        try:
            return actions.act_for_user(program, "customer-77").membership_id
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(use, range(8)))) == 1


def test_acting_for_users_takes_the_scope(world: World) -> None:
    plain = authenticate_key(world.acme.key_secrets["alice"])
    with pytest.raises(MissingScope):
        actions.act_for_user(plain, "customer-77")


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 201, "a\x00", "ä", "line\nbreak"])
def test_unfit_external_id_is_refused(world: World, name: str) -> None:
    program = shop(world.acme)
    with pytest.raises(Invalid):
        actions.act_for_user(program, name)


def test_members_get_no_key_that_acts_for_users(world: World) -> None:
    with pytest.raises(NotAllowed):
        actions.create_api_key(
            world.acme.principal("alice"), name="Script", scopes=["read", "act_for_users"]
        )


def test_former_admin_keeps_no_key_that_acts_for_users(world: World) -> None:
    adam = world.acme.principal("adam")
    _key, plain = actions.create_api_key(adam, name="Plain")
    _key, acting = actions.create_api_key(adam, name="Acting", scopes=["read", "act_for_users"])
    actions.change_role(world.acme.principal("olga"), world.acme.adam.pk, role="member")
    assert authenticate_key(plain).role == "member"
    with pytest.raises(AccessDenied):
        authenticate_key(acting)


def test_user_who_was_shut_out_stays_out(world: World) -> None:
    program = shop(world.acme)
    user = actions.act_for_user(program, "customer-77")
    assert user.membership_id is not None
    actions.disable_member(world.acme.principal("adam"), user.membership_id)
    with pytest.raises(NotAllowed):
        actions.act_for_user(program, "customer-77")


def test_external_members_have_no_account_and_no_other_role(world: World) -> None:
    user = actions.act_for_user(shop(world.acme), "customer-77")
    for change in ({"user": world.acme.alice.user}, {"role": "admin"}, {"external_id": None}):
        with world.acme.scope(), pytest.raises(IntegrityError):
            Membership.objects.filter(pk=user.membership_id).update(**change)


def test_sponsor_of_another_company_is_refused_by_the_database(world: World) -> None:
    user = actions.act_for_user(shop(world.acme), "customer-77")
    with pytest.raises(IntegrityError, match="same_tenant"), world.acme.scope():
        Membership.objects.filter(pk=user.membership_id).update(sponsor=world.globex.otto.pk)


Ending = Callable[[World, Principal], object]
ENDINGS: dict[str, Ending] = {
    "key revoked": lambda world, program: actions.revoke_api_key(
        world.acme.principal("adam"), program.key.pk if program.key else world.acme.tenant.pk
    ),
    "sponsor disabled": lambda world, program: actions.disable_member(
        world.acme.principal("adam"), program.membership_id or world.acme.tenant.pk
    ),
    "sponsor removed": lambda world, program: actions.remove_member(
        world.acme.principal("adam"), program.membership_id or world.acme.tenant.pk
    ),
    "company suspended": lambda world, program: actions.suspend_tenant(
        world.operator, world.acme.tenant.pk
    ),
}


@pytest.mark.parametrize("end", ENDINGS)
def test_what_ends_a_program_ends_its_users(world: World, end: str) -> None:
    program = shop(world.acme)
    user = actions.act_for_user(program, "customer-77")
    assert program.key is not None and user.membership_id is not None
    assert over(user) == set()
    ENDINGS[end](world, program)
    assert over(user) & {"membership", "key"}
    with world.acme.scope():
        found = get_run_principal(user.tenant_id, user.membership_id, program.key.pk)
    assert found is None


def over(user: Principal) -> set[str]:
    """Ask the watcher's question about an external user's open streams."""
    assert user.key is not None
    rows = call_privileged("watch", [user.membership_id], [user.key.pk], [], [])
    return {kind for kind, _id, _at in rows}


def test_closed_account_of_a_sponsor_ends_its_users(world: World) -> None:
    _key, secret = actions.create_api_key(
        world.acme.principal("adam"), name="Own", scopes=["read", "act_for_users"]
    )
    user = actions.act_for_user(authenticate_key(secret), "customer-77")
    User.objects.filter(email="adam@acme.example").update(is_active=False)
    assert over(user) == {"membership"}


def test_run_of_one_member_does_not_pass_with_the_key_of_another(world: World) -> None:
    key = world.acme.keys["alice"]
    with world.acme.scope():
        assert get_run_principal(world.acme.tenant.pk, world.acme.alice.pk, key.pk) is not None
        assert get_run_principal(world.acme.tenant.pk, world.acme.bob.pk, key.pk) is None


def test_header_names_the_user(world: World) -> None:
    _key, secret = shop_key(world.acme)
    headers = {"Authorization": f"Bearer {secret}", "Atrium-User": "customer-77"}
    assert Client(headers=headers).get("/v1/models").status_code == 200
    with world.acme.scope():
        assert Membership.objects.filter(external_id="customer-77").count() == 1


def test_header_makes_nobody_where_nothing_is_served(world: World) -> None:
    _key, secret = shop_key(world.acme)
    headers = {"Authorization": f"Bearer {secret}", "Atrium-User": "customer-77"}
    assert Client(headers=headers).get("/healthz-of-nobody").status_code == 404
    with world.acme.scope():
        assert not Membership.objects.filter(external_id="customer-77").exists()


@pytest.mark.parametrize(("name", "status"), [("customer-77", 403), ("", 403)])
def test_header_without_the_scope_is_refused(world: World, name: str, status: int) -> None:
    secret = world.acme.key_secrets["alice"]
    headers = {"Authorization": f"Bearer {secret}", "Atrium-User": name}
    answer = Client(headers=headers).get("/page/threads")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "permission_denied")
