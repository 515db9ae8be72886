"""Limits on connections and header sections of a real server: number, size and speed."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]  # it comes with the embedded PostgreSQL
import pytest
import uvicorn
from django.conf import settings
from uvicorn.server import ServerState

from config import connections
from config.connections import ConnectionCount, HttpProtocol, get_connection_count
from tests.api.conftest import program_of
from tests.clock import WAIT_SECONDS
from tests.database import CHECKOUT, TestDatabase
from tests.server import Server, serve
from tests.world import World

LIMIT = 65_536
MIB = 1_048_576
# Shorter than uvicorn's keep-alive timeout.
KEPT_SECONDS = 4.5
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    address = ("127.0.0.1", server.port)
    with closing(socket.create_connection(address, timeout=WAIT_SECONDS)) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Return all data received until the server closes the connection."""
    found = b""
    try:
        while chunk := connection.recv(65_536):
            found += chunk
    except ConnectionError:
        pass
    return found


def read_answer(connection: socket.socket) -> bytes:
    """Return one response from a connection that stays open."""
    answer = chunk = connection.recv(65_536)
    while chunk and not answer.endswith(b"0\r\n\r\n"):
        chunk = connection.recv(65_536)
        answer += chunk
    return answer


def exchange(server: Server, *pieces: bytes) -> bytes:
    with connected(server) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except ConnectionError:
            pass  # rejected before all of it was sent
        return received(connection)


def assert_refused(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == code


def status_of(answer: bytes) -> bytes:
    return answer[9:12]


class TestHeaderSize:
    def test_a_header_without_end_is_cut_before_it_is_kept(self, server: Server) -> None:
        before = psutil.Process(server.process.pid).memory_info().rss
        answer = exchange(server, GET + b"X-Long: ", *[b"x" * MIB] * 128)
        grown = psutil.Process(server.process.pid).memory_info().rss - before
        assert_refused(answer, 431, "headers_too_large")
        assert grown < 16 * MIB

    def test_many_headers_are_cut(self, server: Server) -> None:
        answer = exchange(server, GET, *[b"X-A: 1\r\n" * 1000] * 20, b"\r\n")
        assert_refused(answer, 431, "headers_too_large")

    @pytest.mark.parametrize("piece", [1 << 20, 1000])
    def test_the_limit_is_exact(self, server: Server, piece: int) -> None:
        for size, status in ((LIMIT, b"200"), (LIMIT + 1, b"431")):
            # The size counts the path, each name and value, and four bytes per header.
            lines = (b"Host: 127.0.0.1", b"Connection: close", b"X-Long: ")
            counted = len(b"/healthz") + sum(len(line) + 2 for line in lines)
            long = b"x" * (size - counted)
            sent = b"GET /healthz HTTP/1.1\r\n" + b"\r\n".join(lines) + long + b"\r\n\r\n"
            pieces = [sent[at : at + piece] for at in range(0, len(sent), piece)]
            assert status_of(exchange(server, *pieces)) == status, (size, piece)

    def test_a_long_address_is_cut(self, server: Server) -> None:
        answer = exchange(server, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert_refused(answer, 431, "headers_too_large")

    def test_the_second_request_of_a_connection_is_cut_too(self, server: Server) -> None:
        with connected(server) as connection:
            connection.sendall(GET + b"\r\n")
            assert status_of(read_answer(connection)) == b"200"
            connection.sendall(GET + b"X-Long: " + b"x" * 70_000)
            assert_refused(received(connection), 431, "headers_too_large")

    def test_one_behind_an_answer_under_way_ends_the_connection_after_it(
        self, server: Server
    ) -> None:
        answer = exchange(server, GET + b"\r\n" + GET + b"X-Long: " + b"x" * 400_000)
        assert status_of(answer) == b"200"
        assert answer.count(b"HTTP/1.1 ") <= 2

    def test_a_handshake_with_a_long_header_is_refused_without_a_traceback(
        self, server: Server
    ) -> None:
        for more in (b"X-Long: " + b"x" * 9_000 + b"\r\n", b"X-A: 1\r\n" * 200):
            sent = b"GET /ws/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + HANDSHAKE + more + b"\r\n"
            assert_refused(exchange(server, sent), 431, "headers_too_large")
        assert "Traceback" not in server.logged()


class TestHandshake:
    HEAD = b"GET /ws/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + HANDSHAKE

    @pytest.mark.parametrize(
        "more",
        [
            b"Content-Length: 5\r\n\r\n",
            b"Content-Length: 5\r\n\r\nhello",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    def test_one_with_a_body_is_refused_and_not_kept_waiting(
        self, server: Server, more: bytes
    ) -> None:
        for method in (b"GET", b"POST"):
            answer = exchange(server, self.HEAD.replace(b"GET", method) + more)
            assert_refused(answer, 400, "bad_handshake")

    async def test_one_behind_an_answer_under_way_ends_the_connection_after_it(self) -> None:
        # If handed over, the connection would end without notifying the application.
        asked, goes_on = asyncio.Event(), asyncio.Event()

        async def answer_later(scope: Any, receive: Any, send: Any) -> None:
            asked.set()
            await goes_on.wait()
            await answer_unread(scope, receive, send)

        async with await listen(answer_later) as listener:
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asked.wait()
            writer.write(self.HEAD + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
            goes_on.set()
            answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
            assert answer.endswith(b"\r\n\r\nok")
            assert answer.count(b"HTTP/1.1 ") == 1
            writer.close()


class TestTrailers:
    HEAD = (
        b"POST /v1/threads HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"OpenAI-Beta: assistants=v2\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    BODY = b"2\r\n{}\r\n0\r\n"

    def test_a_key_in_a_trailer_opens_nothing(self, world: World, server: Server) -> None:
        key = f"Authorization: Bearer {program_of(world.acme, 'alice').secret}\r\n".encode()
        for pieces in (
            [self.HEAD + self.BODY + key + b"\r\n"],
            [self.HEAD, self.BODY, key, b"\r\n"],
        ):
            assert status_of(exchange(server, *pieces)) == b"401"
        sent = self.HEAD.replace(b"Transfer", key + b"Transfer") + self.BODY
        assert status_of(exchange(server, sent + b"X-Trailer: 1\r\n\r\n")) == b"200"

    def test_a_trailer_without_end_is_cut(self, world: World, server: Server) -> None:
        secret = program_of(world.acme, "alice").secret
        key = f"Authorization: Bearer {secret}\r\nTransfer".encode()
        before = psutil.Process(server.process.pid).memory_info().rss
        head = self.HEAD.replace(b"Transfer", key)
        answer = exchange(server, head + self.BODY + b"X-Long: ", *[b"x" * MIB] * 128)
        assert_refused(answer, 431, "headers_too_large")
        grown = psutil.Process(server.process.pid).memory_info().rss - before
        assert grown < 16 * MIB


@pytest.fixture(scope="module")
def _strict(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"ATRIUM_CONNECTIONS": "5", "ATRIUM_HEADER_SECONDS": "1"}
    folder = tmp_path_factory.mktemp("strict")
    with serve(database, folder, environment=limits, fixture="_strict", pages=False) as server:
        yield server


@pytest.fixture
def strict(world: World, _strict: Server) -> Server:
    """Server that accepts five connections and allows one second for headers."""
    return _strict


class TestSlowHeaders:
    def test_a_silent_connection_is_closed(self, strict: Server) -> None:
        assert_refused(exchange(strict), 408, "headers_too_slow")

    @pytest.mark.parametrize("start", [GET, b"G", b"\r\n", GET + b"\r\n" + GET])
    def test_half_a_request_is_closed(self, strict: Server, start: bytes) -> None:
        answer = exchange(strict, start)
        last = answer[answer.rindex(b"HTTP/1.1") :]
        assert_refused(last, 408, "headers_too_slow")

    def test_dripping_does_not_extend_the_time(self, strict: Server) -> None:
        with connected(strict) as connection:
            connection.sendall(GET)
            began = time.monotonic()
            connection.settimeout(0.1)
            answer = b""
            while not answer and time.monotonic() - began < WAIT_SECONDS:
                try:
                    connection.sendall(b"X-A: 1\r\n")
                    answer = connection.recv(65_536)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return  # closed while a byte was being sent
            assert_refused(answer, 408, "headers_too_slow")

    def test_a_connection_may_rest_between_requests(self, strict: Server) -> None:
        while True:
            with connected(strict) as connection:
                connection.sendall(GET + b"\r\n")
                assert status_of(read_answer(connection)) == b"200"
                answered = time.monotonic()
                time.sleep(1.5)  # longer than the header timeout
                connection.sendall(GET + b"\r\n")
                if time.monotonic() - answered < KEPT_SECONDS:
                    assert status_of(read_answer(connection)) == b"200"
                    return

    def test_those_beyond_the_number_are_told_to_come_again(self, strict: Server) -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(connected(strict)) for _each in range(8)]
            answers = [received(connection) for connection in opened]
        refused = [answer for answer in answers if status_of(answer) == b"503"]
        assert len(refused) == 3
        for answer in refused:
            assert_refused(answer, 503, "too_many_connections")
            assert b"retry-after: 10" in answer
        closing_request = GET + b"Connection: close\r\n\r\n"
        assert status_of(exchange(strict, closing_request)) == b"200"

    def test_a_websocket_counts_until_it_ends(self, strict: Server) -> None:
        origin = f"Origin: http://127.0.0.1:{strict.port}\r\n".encode()
        host = f"Host: 127.0.0.1:{strict.port}\r\n".encode()
        handshake = b"GET /ws/ HTTP/1.1\r\n" + host + origin + HANDSHAKE + b"\r\n"
        closing_request = GET + b"Connection: close\r\n\r\n"
        for _round in range(3):
            with ExitStack() as stack:
                for _each in range(5):
                    connection = stack.enter_context(connected(strict))
                    connection.sendall(handshake)
                    assert status_of(connection.recv(65_536)) == b"101"
                assert status_of(exchange(strict, closing_request)) == b"503"
            until_served(strict, closing_request)


def until_served(server: Server, request: bytes) -> None:
    """Wait until the server has noticed closed connections."""
    began = time.monotonic()
    while time.monotonic() - began < WAIT_SECONDS:
        if status_of(exchange(server, request)) == b"200":
            return
        time.sleep(0.02)
    raise AssertionError("Connections that ended still count.")


def test_a_websocket_at_another_path_is_not_found(server: Server) -> None:
    origin = f"Origin: {server.url}\r\n".encode()
    for path in (b"/nope", b"/ws", b"/ws/x", b"/", b"/v1/threads"):
        head = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n" % path
        answer = exchange(server, head + origin + HANDSHAKE + b"\r\n")
        assert status_of(answer) == b"404", (path, answer[:200])
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "not_found"
    assert "Traceback" not in server.logged()


def count(*, total: int = 100) -> ConnectionCount:
    trusted = ["10.1.2.3", "10.9.0.0/16", "fd00::/8"]
    return ConnectionCount(total=total, per_address=2, trusted=trusted)


class TestCount:
    @pytest.mark.parametrize(
        ("hosts", "admitted"),
        [
            (["203.0.113.7"] * 4, 2),
            (["203.0.113.7", "203.0.113.8"] * 2, 4),
            (["203.0.113.7", "::ffff:203.0.113.7"] * 2, 2),
            (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:9::3"], 2),
            (["2001:db8::1", "2001:db8:0:1::1"] * 2, 4),
            (["fe80::1%eth0"] * 3, 2),
            (["127.0.0.1"] * 4, 4),
            (["127.8.8.8", "::1", "::ffff:127.0.0.1"] * 2, 6),
            (["10.1.2.3"] * 4, 4),
            (["10.9.200.1"] * 4, 4),
            (["10.1.2.4"] * 4, 2),
            (["fd00::7"] * 4, 4),
            ([None] * 4, 4),
        ],
    )
    def test_an_address_has_a_number(self, hosts: list[str | None], admitted: int) -> None:
        counted = count()
        assert sum(counted.admit(host) is not None for host in hosts) == admitted

    def test_all_have_a_number_whoever_they_are(self) -> None:
        counted = count(total=3)
        ends = [counted.admit(host) for host in ("127.0.0.1", None, "203.0.113.7", "10.1.2.3")]
        assert [end is not None for end in ends] == [True, True, True, False]

    def test_one_that_ends_makes_room(self) -> None:
        counted = count(total=1)
        end = counted.admit("203.0.113.7")
        assert end is not None
        assert counted.admit("203.0.113.7") is None
        end()
        assert counted.admit("203.0.113.7") is not None
        assert dict(counted.by_address) == {"203.0.113.7": 1}

    def test_every_peer_is_trusted_where_the_setting_says_so(self) -> None:
        counted = ConnectionCount(total=100, per_address=1, trusted=["*"])
        assert all(counted.admit("203.0.113.7") for _each in range(5))


def test_the_number_of_open_files_is_raised(server: Server) -> None:
    soft, hard = psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536) if hard > 0 else soft == 65_536


def test_it_is_raised_from_a_low_limit() -> None:
    code = "from config.connections import raise_open_file_limit as f; print(f())"
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard)),
    )
    assert int(ran.stdout) == hard


async def answer_unread(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request without reading its body."""
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def listen(application: Any) -> asyncio.Server:
    """Serve an application with this protocol in the current process."""
    config, state = uvicorn.Config(application, lifespan="off", log_config=None), ServerState()
    config.load()
    return await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )


def test_the_default_limits() -> None:
    assert (settings.HEADER_BYTES, settings.HEADER_SECONDS) == (65_536, 10)
    assert (settings.CONNECTIONS_PER_ADDRESS, settings.CONNECTIONS) == (100, 2_000)


async def test_the_rest_of_an_answered_requests_body_has_the_time_of_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "HEADER_SECONDS", 0.3)
    async with await listen(answer_unread) as listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        answers = asyncio.create_task(reader.read())
        while not answers.done():
            writer.write(b"x")
            await asyncio.wait({answers}, timeout=0.05)
        assert answers.result().count(b"HTTP/1.1 ") == 1
        writer.close()


async def answer_at_length(scope: Any, receive: Any, send: Any) -> None:
    """Send a response larger than all buffers, in pieces or, for "/once", in one piece."""
    headers = [(b"content-length", b"%d" % (32 * MIB)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    pieces = 1 if scope["path"] == "/once" else 32
    for number in range(pieces):
        body = b"x" * (32 * MIB // pieces)
        message = {"type": "http.response.body", "body": body}
        await send({**message, "more_body": number + 1 < pieces})


@pytest.mark.parametrize("path", [b"/pieces", b"/once"])
async def test_a_client_that_takes_no_answer_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.3)
    get_connection_count.cache_clear()
    counted = get_connection_count()
    async with await listen(answer_at_length) as listener:
        address = listener.sockets[0].getsockname()
        await asyncio.to_thread(take_nothing, address, path, counted)


def take_nothing(address: Any, path: bytes, counted: ConnectionCount) -> None:
    """Send a request without reading the response; wait until the server closes the connection."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=WAIT_SECONDS) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        while not counted.total and time.monotonic() - began < WAIT_SECONDS:
            time.sleep(0.01)
        while counted.total and time.monotonic() - began < WAIT_SECONDS:
            time.sleep(0.01)
        assert counted.total == 0


@pytest.mark.parametrize("path", [b"/pieces", b"/once"])
async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(
    monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    monkeypatch.setattr(connections, "STALLED_SECONDS", 2.0)
    async with await listen(answer_at_length) as listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        taken, began = 0, time.monotonic()
        while piece := await reader.read(256 * 1024):
            taken += len(piece)
            await asyncio.sleep(0.03)
        assert taken > 32 * MIB
        assert time.monotonic() - began > 2.0
        writer.close()
