"""What no address of the API may choke on: one error, nothing changed, never a 5xx."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import Any

import pytest
from django.core.cache import cache
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from tests.api.conftest import Api, assert_error, program_of
from tests.bad_json import ID_FORMS, build_bad_bodies
from tests.clock import WAIT_SECONDS
from tests.database import TestDatabase
from tests.isolation.rows import build_rows, contents
from tests.isolation.test_api import SLOT, asks, methods
from tests.server import Server
from tests.test_bad_input import NESTED
from tests.world import World

JSON = "application/json"
SECRET_HEADERS = {"OpenAI-Beta": "assistants=v2"}


def assert_refused(response: Any) -> None:
    """One error of the API."""
    assert 400 <= response.status_code < 500, response.content
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("requests" if response.status_code == 429 else "invalid_request_error")
    assert error["message"]


@pytest.fixture
def program(world: World) -> tuple[Api, dict[str, str]]:
    """A program of adam, and his ids of every kind."""
    rows = build_rows(world)
    api = program_of(world.acme, "adam")
    assert api.get("models").status_code == 200
    return api, rows.of["acme"]["adam"]


# These take a form with a file.
FORMS = ("files", "uploads/<str:upload_id>/parts")


def addresses(own: dict[str, str]) -> dict[str, str]:
    """Return an address that exists for each one that takes JSON."""
    return {
        ask.route: ask.filled(ask.path, own, own.get(ask.kind, ""))
        for ask in asks()
        if ask.method == "POST" and "deleted" not in ask.kind and ask.route not in FORMS
    }


def with_ids(route: str, text: str) -> str:
    """Return an address with `text` for every id."""
    return SLOT.sub(lambda _slot: text, route)


def test_bad_json_changes_nothing(
    program: tuple[Api, dict[str, str]], database: TestDatabase
) -> None:
    api, own = program
    before = contents(database)
    bodies = build_bad_bodies("metadata")
    some = [bodies[name] for name in ("cut short", "an array", "a duplicate key", "NaN")]
    for route, path in addresses(own).items():
        cache.clear()
        for raw in bodies.values() if route == "threads" else some:
            assert_error(api.post(path, raw), 400, code="invalid_json")
    assert contents(database) == before


def test_bodies_of_another_kind_change_nothing(
    program: tuple[Api, dict[str, str]], database: TestDatabase
) -> None:
    api, own = program
    before = contents(database)
    for path in addresses(own).values():
        for kind in ("text/plain", "application/json; charset=utf-16", "multipart/form-data", ""):
            answer = api.client.generic(
                "POST", f"/v1/{path}", b"{}", content_type=kind, headers=api._headers()
            )
            assert_error(answer, 415, code="unsupported_media_type")
    assert contents(database) == before


def test_ids_of_wrong_form_are_refused(
    program: tuple[Api, dict[str, str]], database: TestDatabase
) -> None:
    api, _own = program
    before = contents(database)
    for method, route in methods():
        if SLOT.search(route):
            cache.clear()
            for form in ID_FORMS if method == "GET" else ID_FORMS[::4]:
                path = f"/v1/{with_ids(route, form)}"
                body = {"data": "{}", "content_type": JSON} if method == "POST" else {}
                answer = getattr(api.client, method.lower())(path, headers=api._headers(), **body)
                assert_refused(answer)
    assert contents(database) == before


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_no_method_is_a_fault(world: World, alice: Api, method: str) -> None:
    for _method, route in methods():
        cache.clear()
        path = f"/v1/{with_ids(route, 'x')}"
        answer = alice.client.generic(
            method, path, b"{}", content_type=JSON, headers=alice._headers()
        )
        assert_error(answer, 405, code="method_not_allowed")


def test_bad_headers_are_no_fault(alice: Api) -> None:
    for headers in (
        {"OpenAI-Beta": "\x00"},
        {"OpenAI-Beta": ",".join(["assistants=v2"] * 500)},
        {"Accept": "text/event-stream"},
        {"Accept": "\x00;q=x"},
        {"Content-Type": "\x00"},
        {"X-Atrium-Membership": "\x00"},
        {"Atrium-User": "\x00"},
        {"Idempotency-Key": "\x00"},
        {"X-Stainless-Retry-Count": "many"},
        {"Accept-Language": "\xff;q=9" * 50},
        {"Origin": "https://evil.example", "Cookie": "sessionid=x"},
    ):
        alice.headers = {**SECRET_HEADERS, **headers}
        for answer in (alice.get("threads"), alice.post("threads", {})):
            assert answer.status_code < 500, headers


TEXTS = st.sampled_from(["user", "auto", "file_search", "function", "demo-scripted", "asst_x"])
VALUE = NESTED | TEXTS
FIELDS = st.sampled_from(
    ["model", "tools", "tool_resources", "metadata", "messages", "role", "content", "attachments",
     "response_format", "temperature", "assistant_id", "thread", "truncation_strategy",
     "tool_choice", "stream", "tool_outputs", "additional_messages", "file_ids"]
)  # fmt: skip
OBJECTS = st.dictionaries(
    st.sampled_from(["type", "function", "name", "text", "file_id", "role", "content", "tools"]),
    VALUE,
    max_size=4,
)


def test_whatever_json_is_sent_answers(program: tuple[Api, dict[str, str]]) -> None:
    api, own = program
    paths = st.sampled_from(sorted(addresses(own).values()))

    @how(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        path=paths,
        version=st.sampled_from(["v1", "v2"]),
        body=st.dictionaries(FIELDS, VALUE | OBJECTS | st.lists(OBJECTS, max_size=2), max_size=5),
    )
    def send(path: str, version: str, body: dict[str, Any]) -> None:
        cache.clear()
        api.headers = {"OpenAI-Beta": f"assistants={version}"}
        if "stream" in body:
            body["stream"] = str(body["stream"])  # a stream needs a server that runs
        answer = api.post(path, json.dumps(body).encode("utf-8", "surrogatepass"))
        if answer.status_code != 200:
            assert_refused(answer)

    send()


def exchange(server: Server, api: Api, path: str, *lines: str, body: bytes) -> tuple[str, Any]:
    """Send a request byte by byte; return the head of the answer and its JSON."""
    head = [f"POST /v1/{path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *lines]
    head += [f"{name}: {value}" for name, value in api._headers().items()]
    address = ("127.0.0.1", server.port)
    with closing(socket.create_connection(address, timeout=WAIT_SECONDS)) as connection:
        connection.sendall("\r\n".join([*head, f"Content-Type: {JSON}", "", ""]).encode() + body)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    first, _, rest = answer.partition(b"\r\n\r\n")
    return first.decode().lower(), json.loads(rest)


def test_a_body_beyond_the_limit_is_refused_in_the_same_shape(server: Server, alice: Api) -> None:
    head, answer = exchange(server, alice, "threads", "Content-Length: 8388609", body=b"")
    assert "413" in head.splitlines()[0]
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["code"] == "body_too_large"
    assert "\r\nx-request-id: req_" in head


def test_a_body_of_unannounced_length_is_read(server: Server, alice: Api) -> None:
    body = json.dumps({"metadata": {"k": "v"}}).encode()
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    _head, answer = exchange(server, alice, "threads", "Transfer-Encoding: chunked", body=chunked)
    assert answer["metadata"] == {"k": "v"}


def test_every_answer_has_an_id_of_its_own_in_the_log_too(server: Server, alice: Api) -> None:
    ids = []
    for path in ("threads", "nothing", "threads"):
        line = "X-Request-Id: mine"
        head, _answer = exchange(server, alice, path, line, "Content-Length: 2", body=b"{}")
        ids.append(head.split("\r\nx-request-id: ")[1].split("\r\n")[0])
    assert len(set(ids)) == 3
    assert all(item.startswith("req_") for item in ids)
    assert f'"{ids[0]}"' in server.logged()
