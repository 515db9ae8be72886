"""While the database is away every surface says so: 503, when to ask again, one line in the log."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
import websockets
from django.db import connections

from tenants.db import in_db
from tests.api.conftest import BETA, program_of
from tests.clock import WAIT_SECONDS
from tests.crash.stand import Stand
from tests.database import data_dir
from tests.server import Server, serve
from tests.world import PASSWORD


@pytest.fixture(scope="module")
def survivor(_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the files that its pages name."""
    environment = _stand.environment(ATRIUM_STATIC_DIR=str(data_dir() / "static"))
    folder = tmp_path_factory.mktemp("away")
    with serve(_stand.database, folder, environment=environment) as server:
        yield server


@pytest.fixture
def away(stand: Stand, survivor: Server) -> Iterator[dict[str, str]]:
    """No database; yields the headers of a program and of a browser that were let in before."""
    acme = stand.world.acme
    connections["default"].close()  # of a database that a test before may have killed
    headers = {
        "Authorization": f"Bearer {program_of(acme, 'alice').secret}",
        "Cookie": f"sessionid={acme.session_key('alice')}",
    }
    with without_database(stand):
        yield headers


@contextmanager
def without_database(stand: Stand) -> Iterator[None]:
    connections["default"].close()  # the test's own
    stand.kill_database()
    try:
        yield
    finally:
        stand.start_database()


def ask(
    server: Server, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, dict[str, str], str, list[dict[str, object]]]:
    """Return status, headers, body and the log's lines about an outage."""
    start = len(server.logged())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, names)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    lines = [json.loads(line) for line in server.logged()[start:].splitlines() if line]
    about = [line for line in lines if path.partition("?")[0] in str(line.get("request", ""))]
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text, about


PROGRAM, BROWSER, NOBODY = "Authorization", "Cookie", ""
SIGN_IN = urlencode({"login": "alice@acme.example", "password": PASSWORD})
FORM = "application/x-www-form-urlencoded"
JSON, PAGE = "application/json", "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "who", "kind"),
    [
        ("GET", "/v1/assistants", PROGRAM, JSON),
        ("POST", "/v1/threads", PROGRAM, JSON),
        ("POST", "/v1/files", PROGRAM, JSON),
        ("GET", "/page/threads", BROWSER, JSON),
        ("POST", "/page/files", BROWSER, JSON),
        ("GET", "/", BROWSER, PAGE),
        ("GET", "/admin/", BROWSER, PAGE),
        ("GET", "/accounts/email/", BROWSER, PAGE),
    ],
)
def test_every_address_says_so(
    survivor: Server, away: dict[str, str], method: str, path: str, who: str, kind: str
) -> None:
    status, headers, text, lines = ask(
        survivor, method, path, "{}" if method == "POST" else "", Content_Type=JSON,
        **{"OpenAI_Beta": BETA["OpenAI-Beta"], who: away[who]},
    )  # fmt: skip
    assert (status, headers["content-type"]) == (503, kind), survivor.logged()[-3000:]
    assert int(headers["retry-after"]) > 0
    if kind == JSON:
        assert json.loads(text)["error"]["code"] == "unavailable"
    assert [line["event"] for line in lines] == ["database_away"]
    assert "exception" not in lines[0]


def test_signing_in_says_so(stand: Stand, survivor: Server) -> None:
    cookie = f"csrftoken={'c' * 32}"
    with without_database(stand):
        status, headers, text, lines = ask(
            survivor, "POST", "/accounts/login/", f"{SIGN_IN}&csrfmiddlewaretoken={'c' * 32}",
            Content_Type=FORM, Cookie=cookie, Accept="text/html",
        )  # fmt: skip
    assert (status, headers["content-type"]) == (503, PAGE), text
    assert [line["event"] for line in lines] == ["database_away"]


async def test_a_handshake_is_told_to_come_later(
    stand: Stand, survivor: Server, away: dict[str, str]
) -> None:
    start = len(survivor.logged())
    async with websockets.connect(
        f"ws://127.0.0.1:{survivor.port}/ws/",
        additional_headers={"Cookie": away["Cookie"]},
        origin=survivor.url,  # type: ignore[arg-type]
        open_timeout=WAIT_SECONDS,
    ) as socket:
        await asyncio.wait_for(socket.wait_closed(), WAIT_SECONDS)
        assert socket.close_code == 1013
    assert "Traceback" not in survivor.logged()[start:]


async def test_an_open_stream_ends_with_a_sentence(
    stand: Stand, survivor: Server, held_answer: None
) -> None:
    program = await in_db(program_of, stand.world.acme, "alice")
    body = {
        "assistant_id": stand.assistant,
        "stream": True,
        "thread": {"messages": [{"role": "user", "content": "streamed without a database"}]},
    }
    connection = http.client.HTTPConnection("127.0.0.1", survivor.port, timeout=WAIT_SECONDS)
    headers = {"Authorization": f"Bearer {program.secret}", "Content-Type": JSON, **BETA}
    await asyncio.to_thread(
        connection.request, "POST", "/v1/threads/runs", json.dumps(body), headers
    )
    answer = await asyncio.to_thread(connection.getresponse)
    while b"thread.message.delta" not in (line := await asyncio.to_thread(answer.readline)):
        assert line, "The stream ended."
    await asyncio.to_thread(stand.kill_database)
    stand.model.go_on()
    # What is written meanwhile is shown; the run ends when the database is back.
    await asyncio.to_thread(stand.start_database)
    rest = await asyncio.to_thread(answer.read)
    answer.close()
    connection.close()
    assert b"thread.run.completed" in rest
    assert rest.endswith(b"event: done\ndata: [DONE]\n\n")
