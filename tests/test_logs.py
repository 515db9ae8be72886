"""Log of a whole server: its lines have ids and contain no user content or secrets."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog
from django.db import DataError

from config.logging import OWN_LOGGERS, configure_logging, describe_errors
from tests.clock import WAIT_SECONDS, wait_until
from tests.database import HEARTBEATS, TestDatabase
from tests.isolation.delivered import QUICK, scripted_assistant
from tests.log_scan import find_forbidden
from tests.server import Server, serve
from tests.socket_client import chat_socket
from tests.upstream.script import Answer, Call
from tests.upstream.server import ScriptedServer
from tests.world import PASSWORD, World

WORDS = "my knee hurts since the marathon"
SAID = "rest it and see a physician"
WRONG_PASSWORD = "not-my-pass-phrase"


@pytest.fixture(scope="module", params=["INFO", "DEBUG"])
def logging_server(
    request: pytest.FixtureRequest,
    database: TestDatabase,
    _upstream_process: ScriptedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    database.kept.update(HEARTBEATS)
    environment = {
        **QUICK,
        "OPENAI_BASE_URL": _upstream_process.base_url,
        "LOG_LEVEL": request.param,
    }
    folder = tmp_path_factory.mktemp(f"log_{request.param}")
    with serve(database, folder, environment=environment, fixture="logging_server") as server:
        yield server


@pytest.fixture
def log_of(logging_server: Server, world: World) -> tuple[Server, int]:
    """Server, and the length of its log before this test."""
    return logging_server, len(logging_server.logged())


def lines(server: Server, start: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.logged()[start:].splitlines()]


def request(
    server: Server, method: str, path: str, *, cookie: str = "", body: str = "", **headers: str
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if cookie:
        sent["Cookie"] = cookie
    connection.request(method, path, body=body or None, headers=sent)
    status = connection.getresponse().status
    connection.close()
    return status


async def talk(server: Server, upstream: ScriptedServer, world: World) -> str:
    """Run an answer with a tool call and a failing answer, and send a rejected message."""
    assistant = await scripted_assistant(world.acme)
    quoting = json.dumps({"error": {"message": f"Cannot read: {WORDS}", "code": "bad"}})
    for answer in (
        Answer(calls=(Call(name="get_order", arguments=f'["{WORDS}"]'),), finish="tool_calls"),
        Answer(say=(SAID,)),
        Answer(status=400, body=quoting),
        Answer(say=(SAID,), error={"message": WORDS, "code": "server_error"}),
        Answer(status=500, body=quoting),
        Answer(say=("done",)),
    ):
        upstream.expect(answer)
    run_id = ""
    async with chat_socket(server, world.acme, "alice") as socket:
        for _turn in range(3):
            sent = await socket.say(WORDS, assistant=assistant)
            run_id = sent["run"]["id"]
            await socket.until_ended(run_id)
        await socket.ask("message.create", content=WORDS, unknown=WORDS)
        await socket.connection.send(json.dumps({"type": WORDS})[:-1])
        await socket.ask("ping")
    return str(run_id)


async def test_the_log_holds_nothing_that_people_wrote(
    log_of: tuple[Server, int], world: World, upstream_server: ScriptedServer
) -> None:
    server, start = log_of
    await talk(server, upstream_server, world)
    upstream_server.assert_done()
    assert lines(server, start)
    assert find_forbidden(server.logged(), WORDS, SAID, "marathon", "CANARY-", "Cannot read") == []


def test_the_log_holds_no_secret(log_of: tuple[Server, int], world: World) -> None:
    server, start = log_of
    session, secret = world.acme.session_key("adam"), world.acme.key_secrets["olga"]
    token, cookie = world.globex.invitation_token, f"sessionid={session}; csrftoken={'c' * 32}"
    form = urlencode({"login": "alice@acme.example", "password": WRONG_PASSWORD})
    kind = "application/x-www-form-urlencoded"
    for status in (
        request(server, "POST", "/accounts/login/", body=form, Content_Type=kind),
        request(server, "GET", f"/invitations/{token}/"),
        request(server, "GET", f"/invitations/{token}x/", cookie=cookie),
        request(server, "GET", f"/accounts/password/reset/key/1-{token}/"),
        request(server, "GET", f"/admin/chat/run/?q={urlencode({'q': WORDS})}", cookie=cookie),
        request(server, "GET", "/page/threads", Authorization=f"Bearer {secret}"),
        request(server, "GET", "/page/threads", Authorization=f"Bearer {secret}x"),
        request(server, "POST", "/page/threads/x/rename", cookie=cookie, body=WORDS),
    ):
        assert status < 500
    assert len(lines(server, start)) >= 8
    forbidden = (session, secret, token, WRONG_PASSWORD, PASSWORD, "c" * 32, "knee")
    assert find_forbidden(server.logged(), *forbidden, QUICK["OPENAI_API_KEY"]) == []


def test_a_request_is_logged_with_who_asks(log_of: tuple[Server, int], world: World) -> None:
    server, start = log_of
    cookie = f"sessionid={world.acme.session_key('alice')}"
    assert request(server, "GET", "/page/threads", cookie=cookie) == 200
    line = next(item for item in lines(server, start) if item["event"] == "request_finished")
    alice = world.acme.alice
    assert (line["tenant_id"], line["membership_id"]) == (str(alice.tenant_id), str(alice.pk))
    assert (line["user_id"], line["code"], bool(line["request_id"])) == (alice.user_id, 200, True)


def test_refused_requests_are_logged_too(log_of: tuple[Server, int], world: World) -> None:
    server, start = log_of
    assert request(server, "GET", "/page/threads", Authorization="Bearer atr_unknown") == 401
    assert [line["code"] for line in lines(server, start) if "code" in line] == [401]


async def test_a_run_is_logged_with_whose_it_is(
    log_of: tuple[Server, int], world: World, upstream_server: ScriptedServer
) -> None:
    server, start = log_of

    def ended() -> list[dict[str, Any]]:
        return [line for line in lines(server, start) if line["event"] == "run_ended"]

    run_id = await talk(server, upstream_server, world)
    # Subscribers are notified of the end before it is logged.
    await asyncio.to_thread(wait_until, lambda: len(ended()) == 3)
    line = next(item for item in lines(server, start) if item.get("run_id") == run_id)
    alice = world.acme.alice
    assert (line["tenant_id"], line["membership_id"]) == (str(alice.tenant_id), str(alice.pk))
    assert [item["status"] for item in ended()] == ["completed", "failed", "completed"]


def test_an_error_is_logged_without_its_words() -> None:
    try:
        try:
            raise DataError(f"DETAIL: Failing row contains ({WORDS})")
        except DataError as error:
            raise RuntimeError(WORDS) from error
    except RuntimeError:
        event = describe_errors(None, "", {"event": "x", "exc_info": sys.exc_info()})
    assert WORDS not in str(event)
    assert "builtins.RuntimeError" in event["exception"]
    assert "django.db.utils.DataError" in event["exception"]
    assert "test_logs.py:" in event["exception"]


def test_level_is_for_our_own_and_libraries_stay_quiet() -> None:
    kept = logging.root.handlers[:]
    try:
        configure_logging("DEBUG")
        levels = {name: logging.getLogger(name).getEffectiveLevel() for name in OWN_LOGGERS}
        assert set(levels.values()) == {logging.DEBUG}
        for name in ("django.db.backends", "uvicorn.error", "websockets", "openai", "aiohttp"):
            assert logging.getLogger(name).getEffectiveLevel() >= logging.INFO
    finally:
        configure_logging("INFO")
        logging.root.handlers[:] = kept


def test_own_logger_names_the_error_that_is_handled(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.root.handlers[0].formatter)
    logger = logging.getLogger("chat.test_logs")
    logger.addHandler(handler)
    try:
        raise ValueError(WORDS)
    except ValueError:
        structlog.get_logger("chat.test_logs").exception("went_wrong")
    finally:
        logger.removeHandler(handler)
    line = json.loads(capsys.readouterr().err.splitlines()[0])
    assert (line["event"], line["level"]) == ("went_wrong", "error")
    assert line["exception"].startswith("builtins.ValueError")
