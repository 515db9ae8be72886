"""Guesses are slowed down, and nobody's failures keep the right person out."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from pytest_django import Settings

from tenants.accounts.sign_in_limits import (
    ACCOUNT_CODE_POLICY,
    ACCOUNT_PASSWORD_POLICY,
    ADDRESS_PASSWORD_POLICY,
    Attempt,
    find_known_device,
    get_code_attempt,
    get_password_attempt,
    remember_device,
)
from tenants.actions import invite, make_reset_link
from tests.tenants.test_profile import code_for, one_moment, with_second_factor
from tests.world import PASSWORD, World

__all__ = ["one_moment"]

LOGIN, CODE = "/accounts/login/", "/accounts/second-factor/code/"
ALICE = "alice@acme.example"
FREE_TRIES, MAX_WAIT_SECONDS, MAX_SIGN_INS_PER_MINUTE = 5, 300, 30
HERE, STRANGER = "198.51.100.7", "203.0.113.9"

Skip = Callable[[float], None]
Answer = Any  # of the test client


@pytest.fixture
def skip(monkeypatch: pytest.MonkeyPatch) -> Skip:
    """Let time stand still, but for what a test skips; the cache's entries end by it too."""
    now = [time.time()]
    monkeypatch.setattr("time.time", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def post(client: Client, password: str, *, address: str, email: str = ALICE) -> Answer:
    return client.post(LOGIN, {"login": email, "password": password}, REMOTE_ADDR=address)


def fail(times: int, *, address: str = STRANGER, email: str = ALICE) -> Answer:
    for _time in range(times):
        answer = post(Client(), "wrong", address=address, email=email)
    return answer


def lets_in(answer: Answer) -> bool:
    return bool(answer.status_code == 302)


def request_from(address: str, client: Client | None = None) -> HttpRequest:
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address
    if client is not None:
        request.COOKIES = {name: morsel.value for name, morsel in client.cookies.items()}
    return request


def test_a_stranger_keeps_nobody_out_elsewhere(world: World, skip: Skip) -> None:
    answer = fail(40)
    assert answer.status_code == 429
    assert lets_in(post(Client(), PASSWORD, address=HERE))


def test_a_refused_try_says_when_to_come_again(world: World, skip: Skip) -> None:
    answer = fail(FREE_TRIES + 2)
    assert (answer.status_code, answer["Retry-After"]) == (429, "2")
    assert "Too many failed attempts. Try again in 2 seconds." in answer.content.decode()


def test_the_right_password_waits_at_a_place_of_many_failures_and_then_opens(
    world: World, skip: Skip
) -> None:
    fail(FREE_TRIES + 1)
    assert post(Client(), PASSWORD, address=STRANGER).status_code == 429
    skip(2)
    assert lets_in(post(Client(), PASSWORD, address=STRANGER))


def test_waits_grow_and_are_bounded(world: World, skip: Skip) -> None:
    waits = []
    fail(FREE_TRIES)
    for _time in range(12):
        fail(1)
        waits.append(int(fail(1)["Retry-After"]))
        skip(waits[-1])
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, *[MAX_WAIT_SECONDS] * 4]


def test_a_known_device_is_no_concern_of_strangers_at_its_own_address(
    world: World, skip: Skip
) -> None:
    device = Client()
    assert lets_in(post(device, PASSWORD, address=HERE))
    device.cookies.pop("sessionid")
    fail(40, address=HERE)
    assert lets_in(post(device, PASSWORD, address=HERE))


def test_a_known_device_is_slowed_down_by_its_own_failures(world: World, skip: Skip) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    device.cookies.pop("sessionid")
    answers = [post(device, "wrong", address=HERE).status_code for _time in range(FREE_TRIES + 2)]
    assert answers == [200] * (FREE_TRIES + 1) + [429]


def test_a_device_is_known_for_one_account_and_one_password(world: World) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    request = request_from(HERE, device)
    assert find_known_device(request, ALICE) is not None
    assert find_known_device(request, "bob@acme.example") is None
    world.acme.alice.user.set_password("fresh-grape-77")  # type: ignore[union-attr]
    world.acme.alice.user.save()  # type: ignore[union-attr]
    assert find_known_device(request, ALICE) is None


@pytest.mark.parametrize("value", ["", "x", "x:y:z", "ü", "W10:1:2"])
def test_a_made_up_device_is_unknown(world: World, value: str) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    [name] = [name for name in device.cookies if name.startswith("device_")]
    request = request_from(HERE)
    request.COOKIES = {name: value}
    assert find_known_device(request, ALICE) is None


def test_the_cookie_of_one_account_does_not_serve_another(world: World) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    post(bob := Client(), PASSWORD, address=HERE, email="bob@acme.example")
    [alices] = [m for name, m in device.cookies.items() if name.startswith("device_")]
    [bobs] = [name for name in bob.cookies if name.startswith("device_")]
    request = request_from(HERE)
    request.COOKIES = {bobs: alices.value}
    assert find_known_device(request, "bob@acme.example") is None


def test_a_device_keeps_its_id_from_one_sign_in_to_the_next(world: World) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    request = request_from(HERE, device)
    before = find_known_device(request, ALICE)
    response = HttpResponse()
    assert world.acme.alice.user is not None
    remember_device(request, response, world.acme.alice.user)
    request.COOKIES = {name: morsel.value for name, morsel in response.cookies.items()}
    assert find_known_device(request, ALICE) == before


def test_the_cookie_goes_to_the_sign_in_pages_only_and_to_no_script(world: World) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    [morsel] = [m for name, m in device.cookies.items() if name.startswith("device_")]
    assert (morsel["path"], morsel["httponly"], morsel["samesite"]) == ("/accounts/", True, "Lax")
    assert "alice" not in str(morsel)


def test_an_address_without_an_account_is_answered_alike(world: World, skip: Skip) -> None:
    answers = [fail(FREE_TRIES + 2, email=email) for email in (ALICE, "nobody@acme.example")]
    texts = [answer.content.decode().split("errorlist")[1].split("</ul>")[0] for answer in answers]
    assert [answer.status_code for answer in answers] == [429, 429]
    assert texts[0] == texts[1]


def test_an_office_signs_in_at_nine(world: World, skip: Skip) -> None:
    people = [
        person for company in (world.acme, world.globex) for person in company.people.values()
    ]
    answers = [
        post(Client(), PASSWORD, address=HERE, email=person.email)
        for _time in range(6)
        for person in people
    ]
    assert len(answers) == 60
    assert all(map(lets_in, answers))


def test_one_account_signs_in_at_a_bounded_rate(world: World, skip: Skip) -> None:
    attempt = get_password_attempt(request_from(HERE), ALICE)
    for _time in range(MAX_SIGN_INS_PER_MINUTE):
        assert attempt.begin() == 0
        attempt.succeed()
    assert attempt.begin() == 60
    skip(60)
    assert attempt.begin() == 0


def crowd(number: int) -> None:
    """Let a botnet fail once at the account from each of `number` addresses."""
    for host in range(number):
        get_password_attempt(request_from(f"10.0.{host // 250}.{host % 250}"), ALICE).begin()


def test_guesses_from_many_addresses_take_turns(world: World, skip: Skip) -> None:
    crowd(ACCOUNT_PASSWORD_POLICY.free_failures)
    waits = [
        get_password_attempt(request_from(f"10.1.0.{host}"), ALICE).begin() for host in range(60)
    ]
    # One in each interval, and beyond the longest wait together.
    assert 0 not in waits
    assert waits == sorted(waits)
    assert len(set(waits)) >= ACCOUNT_PASSWORD_POLICY.max_wait // ACCOUNT_PASSWORD_POLICY.interval
    # Turns begin at multiples of the interval, whatever the time is.
    longest = ACCOUNT_PASSWORD_POLICY.max_wait
    assert longest - ACCOUNT_PASSWORD_POLICY.interval < max(waits) <= longest
    assert waits[-20:] == [max(waits)] * 20


def test_the_owner_gets_a_turn_in_a_crowd_and_on_a_known_device_needs_none(
    world: World, skip: Skip
) -> None:
    device = Client()
    post(device, PASSWORD, address=HERE)
    device.cookies.pop("sessionid")
    crowd(ACCOUNT_PASSWORD_POLICY.free_failures + 200)
    assert lets_in(post(device, PASSWORD, address=STRANGER))
    answer = post(Client(), PASSWORD, address=HERE)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) <= ACCOUNT_PASSWORD_POLICY.max_wait
    skip(int(answer["Retry-After"]))
    crowd(400)
    assert lets_in(post(Client(), PASSWORD, address=HERE))


def test_a_turn_is_good_for_one_try(world: World, skip: Skip) -> None:
    crowd(ACCOUNT_PASSWORD_POLICY.free_failures)
    attempt = get_password_attempt(request_from(HERE), ALICE)
    skip(attempt.begin())
    assert attempt.begin() == 0
    assert attempt.begin() > 0


def test_one_address_that_tries_many_accounts_takes_turns(world: World, skip: Skip) -> None:
    for number in range(ADDRESS_PASSWORD_POLICY.free_failures):
        get_password_attempt(request_from(HERE), f"p{number}@acme.example").begin()
    assert get_password_attempt(request_from(HERE), ALICE).begin() > 0
    assert get_password_attempt(request_from(STRANGER), ALICE).begin() == 0


def spray(number: int) -> list[int]:
    """Try one password at each of `number` accounts from one address; return the waits."""
    return [
        get_password_attempt(request_from(HERE), f"p{account}@acme.example").begin()
        for account in range(number)
    ]


def test_one_address_is_bounded_however_many_accounts_it_tries(world: World, skip: Skip) -> None:
    free, longest = ADDRESS_PASSWORD_POLICY.free_failures, ADDRESS_PASSWORD_POLICY.max_wait
    accounts = free + longest + 1_000
    waits = spray(accounts)
    assert waits.count(0) == free
    assert waits == sorted(waits)
    assert longest - 1 <= max(waits) <= longest
    skip(longest)
    # One a second, and what is free in the next hour; the others have no turn yet.
    assert longest <= spray(accounts).count(0) <= longest + free


def test_an_office_is_no_concern_of_what_somebody_tries_at_its_address(
    world: World, skip: Skip
) -> None:
    assert lets_in(post(Client(), PASSWORD, address=HERE))
    spray(ADDRESS_PASSWORD_POLICY.free_failures + 500)
    assert lets_in(post(Client(), PASSWORD, address=HERE))
    # Failures of the account itself still count there.
    fail(FREE_TRIES + 1, address=HERE)
    assert post(Client(), PASSWORD, address=HERE).status_code == 429


def test_the_limits_are_settings(world: World, skip: Skip, settings: Settings) -> None:
    settings.SIGN_IN_FREE_TRIES, settings.SIGN_IN_MAX_WAIT_SECONDS = 1, 3
    assert fail(3).status_code == 429
    waits = []
    for _time in range(4):
        waits.append(int(fail(1)["Retry-After"]))
        skip(waits[-1])
        fail(1)
    assert waits == [2, 3, 3, 3]
    settings.SIGN_IN_FAILURES_FROM_ADDRESS = 2
    assert [wait > 0 for wait in spray(3)] == [False, False, True]
    settings.SIGN_INS_PER_MINUTE = 1
    bob = "bob@acme.example"
    assert lets_in(post(Client(), PASSWORD, address="192.0.2.4", email=bob))
    assert post(Client(), PASSWORD, address="192.0.2.4", email=bob).status_code == 429


def test_the_turns_at_both_counters_come_together(world: World, skip: Skip) -> None:
    crowd(ACCOUNT_PASSWORD_POLICY.free_failures + 100)
    for number in range(ADDRESS_PASSWORD_POLICY.free_failures):
        get_password_attempt(request_from(HERE), f"p{number}@acme.example").begin()
    attempt = get_password_attempt(request_from(HERE), ALICE)
    skip(attempt.begin())
    assert attempt.begin() == 0


def test_tries_at_once_do_not_slip_past_the_count(world: World) -> None:
    attempt = get_password_attempt(request_from(HERE), ALICE)

    def begin(_number: int) -> int:
        try:
            return attempt.begin()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(begin, range(60)))
    assert waits.count(0) <= FREE_TRIES + 1


def test_wrong_codes_elsewhere_do_not_keep_the_owner_out(world: World, skip: Skip) -> None:
    _client, secret = with_second_factor()
    stranger, owner = Client(), Client()
    post(stranger, PASSWORD, address=STRANGER)
    codes = [
        stranger.post(CODE, {"code": "000000"}, REMOTE_ADDR=STRANGER)
        for _time in range(FREE_TRIES + 2)
    ]
    assert [answer.status_code for answer in codes] == [200] * (FREE_TRIES + 1) + [429]
    assert codes[-1]["Retry-After"] == "2"
    post(owner, PASSWORD, address=HERE)
    assert lets_in(owner.post(CODE, {"code": code_for(secret)}, REMOTE_ADDR=HERE))


def test_a_password_alone_makes_no_device_known(world: World) -> None:
    with_second_factor()
    client = Client()
    post(client, PASSWORD, address=STRANGER)
    assert [name for name in client.cookies if name.startswith("device_")] == []


def test_codes_from_many_addresses_take_turns(world: World, skip: Skip) -> None:
    user = world.acme.alice.user
    assert user is not None
    begun = [
        get_code_attempt(request_from(f"10.0.0.{host}"), user).begin() == 0
        for host in range(ACCOUNT_CODE_POLICY.free_failures + 20)
    ]
    assert begun.count(True) == ACCOUNT_CODE_POLICY.free_failures


def test_confirming_a_password_counts_too(world: World, skip: Skip) -> None:
    client = world.acme.client("alice")
    answers = [
        client.post("/accounts/reauthenticate/", {"password": "wrong"}, REMOTE_ADDR=STRANGER)
        for _time in range(FREE_TRIES + 2)
    ]
    assert answers[-1].status_code == 429


def test_a_new_password_by_a_link_ends_the_wait_of_the_place(world: World, skip: Skip) -> None:
    fail(FREE_TRIES + 1, address="127.0.0.1")
    link = make_reset_link(world.operator, ALICE, base_url="http://testserver")
    client = Client()
    page = client.get(link, follow=True)
    new = {"password1": "fresh-grape-77", "password2": "fresh-grape-77"}
    client.post(page.redirect_chain[-1][0], new)
    assert lets_in(post(Client(), "fresh-grape-77", address="127.0.0.1"))


def test_success_of_one_place_does_not_forget_the_failures_of_another(
    world: World, skip: Skip
) -> None:
    fail(FREE_TRIES + 1)
    post(Client(), PASSWORD, address=HERE)
    assert fail(1).status_code == 429


def test_invitations_of_an_office_are_accepted_at_the_same_time(world: World) -> None:
    answers = []
    for number in range(25):
        _row, token = invite(world.acme.principal("adam"), f"n{number}@acme.example")
        form = {"name": "N", "password": "grape-fresh-77"}
        answers.append(Client().post(f"/invitations/{token}/", form))
    assert all(map(lets_in, answers))


def test_an_attempt_without_turns_is_bounded_by_its_own_count() -> None:
    attempt = Attempt(pair="sign-in:x")
    assert [attempt.begin() for _time in range(FREE_TRIES + 1)] == [0] * (FREE_TRIES + 1)
    assert attempt.begin() > 0


def test_a_flood_of_other_addresses_does_not_forget_failures(skip: Skip) -> None:
    guessed = get_password_attempt(request_from(HERE), ALICE)
    for _time in range(FREE_TRIES + 2):
        guessed.begin()
    for number in range(30_000):
        get_password_attempt(request_from(STRANGER), f"{number}@nowhere.example").begin()
    assert guessed.begin() > 0
