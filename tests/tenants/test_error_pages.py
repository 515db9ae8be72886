"""Errors are pages for people and JSON for programs."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from tests.world import World


def fails(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [path("page/fails", fails), path("fails", fails)]
handler500 = "tenants.error_pages.server_error"
handler404 = "tenants.error_pages.page_not_found"


def test_missing_page_is_a_page(world: World) -> None:
    answer = Client().get("/nowhere", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.content.decode()


@pytest.mark.parametrize("place", ["/page/nowhere", "/v1/nowhere"])
def test_missing_address_of_programs_is_json(world: World, place: str) -> None:
    answer = Client().get(place)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_program_that_asks_for_json_gets_it_anywhere(world: World) -> None:
    answer = Client().get("/nowhere", headers={"Accept": "application/json"})
    assert answer.json()["error"]["code"] == "not_found"


def test_form_without_its_token_is_told(world: World) -> None:
    answer = Client(enforce_csrf_checks=True).post("/accounts/login/", {"login": "x"})
    assert answer.status_code == 403
    assert "reload the page" in answer.content.decode()


@override_settings(ROOT_URLCONF="tests.tenants.test_error_pages")
@pytest.mark.parametrize(
    ("place", "kind"), [("/fails", "text/html"), ("/page/fails", "application/json")]
)
def test_own_failure_tells_nothing_of_the_inside(world: World, place: str, kind: str) -> None:
    answer = Client(raise_request_exception=False).get(place)
    assert answer.status_code == 500
    assert answer["Content-Type"].startswith(kind)
    assert "ZeroDivision" not in answer.content.decode()


@pytest.mark.parametrize("host", ["evil.example", "a\tb"])
def test_foreign_host_is_refused(world: World, host: str) -> None:
    assert Client(SERVER_NAME=host).get("/accounts/login/").status_code == 400
