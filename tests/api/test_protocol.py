"""Who may ask, in which words, and how every refusal looks."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.api.conftest import Api, assert_error
from tests.world import World


def test_a_cookie_opens_nothing(world: World) -> None:
    client = world.acme.client("adam")
    assert_error(client.get("/v1/models"), 401, code="invalid_api_key")


@pytest.mark.parametrize("secret", ["", "atr_", "sk-abc", "atr_" + "x" * 64, "atr_\xff"])
def test_a_wrong_key_is_refused(world: World, secret: str) -> None:
    client = world.acme.client("adam")
    answer = client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    assert_error(answer, 401, code="invalid_api_key")


def test_nobody_is_told_how_to_send_a_key(world: World) -> None:
    answer = Client().get("/v1/models")
    assert "Authorization: Bearer" in assert_error(answer, 401, code="invalid_api_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_models_need_no_beta_header(alice: Api) -> None:
    alice.headers = {}
    assert alice.get("models").status_code == 200


def test_methods_that_are_not_there_name_those_that_are(alice: Api) -> None:
    answer = alice.delete("models")
    assert_error(answer, 405, code="method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_unknown_addresses_answer_in_the_same_shape(alice: Api) -> None:
    for path in ("", "nothing", "models/", "assistants/x/y", "%00", "../admin/"):
        answer = alice.get(path)
        assert answer.status_code == 404, path
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_models_are_those_configured_and_those_in_use(alice: Api) -> None:
    found = alice.get("models").json()
    assert found["object"] == "list"
    assert {item["id"] for item in found["data"]} == {"demo-scripted"}
    one = alice.get("models/demo-scripted").json()
    assert one in found["data"]
    assert (one["object"], one["owned_by"], type(one["created"])) == ("model", "demo", int)


def test_an_unknown_model_is_not_found(alice: Api) -> None:
    for name in ("gpt-9", "a/b", "x" * 2000):
        assert_error(alice.get(f"models/{name}"), 404, param="model")
