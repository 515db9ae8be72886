"""Bodies over the limit on a real server: with, without and with a wrong Content-Length."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.contrib.admin.utils import quote

from chat.conf import conf
from chat.models import StorageUse, StoreFile, VectorStore
from config.middleware import body_limit
from config.middleware.body_limit import BodyLimitMiddleware, SizeLimit
from tenants.db import in_db
from tests.api.conftest import program_of
from tests.clock import WAIT_SECONDS
from tests.database import TestDatabase
from tests.isolation.rows import contents
from tests.server import Server
from tests.world import World

LIMIT = 1_048_576
PIECE = b"x" * 65_536


@pytest.fixture
def cookie(world: World) -> str:
    return f"sessionid={world.acme.session_key('alice')}; csrftoken={'c' * 32}"


def url(world: World) -> str:
    return f"/page/threads/{world.acme.threads['alice'].pk}/rename"


def exchange(server: Server, head: list[str], pieces: Iterator[bytes] | list[bytes]) -> bytes:
    """Send a raw request in pieces; return the response received before the server closes."""
    with closing(
        socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS)
    ) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        try:
            for piece in pieces:
                connection.sendall(piece)
        except ConnectionError:
            pass  # rejected before all of it was sent
        return received(connection)


def received(connection: socket.socket) -> bytes:
    found = b""
    try:
        while chunk := connection.recv(65_536):
            found += chunk
    except (ConnectionError, TimeoutError):
        pass
    return found


def head(world: World, cookie: str, *more: str) -> list[str]:
    return [
        f"POST {url(world)} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Cookie: {cookie}",
        f"X-CSRFToken: {'c' * 32}",
        "Content-Type: application/json",
        *more,
    ]


def chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


def too_much() -> Iterator[bytes]:
    for _piece in range(LIMIT // len(PIECE) + 1):
        yield PIECE


def assert_refused(answer: bytes, status: int = 413) -> None:
    first, _, rest = answer.partition(b"\r\n")
    assert first.startswith(f"HTTP/1.1 {status}".encode()), answer[:300]
    if status == 413:
        error = json.loads(rest.partition(b"\r\n\r\n")[2])["error"]
        assert (error["code"], error["param"]) == ("body_too_large", None)
        assert str(LIMIT) in error["message"]


def test_an_announced_body_is_refused_unread(
    world: World, server: Server, cookie: str, database: TestDatabase
) -> None:
    before = contents(database)
    answer = exchange(server, head(world, cookie, f"Content-Length: {LIMIT + 1}"), [])
    assert_refused(answer)
    assert contents(database) == before


def test_an_unannounced_body_is_refused_on_the_way(
    world: World, server: Server, cookie: str, database: TestDatabase
) -> None:
    before = contents(database)
    sent = head(world, cookie, "Transfer-Encoding: chunked")
    assert_refused(exchange(server, sent, chunked(too_much())))
    assert contents(database) == before


def test_a_body_of_exactly_the_limit_is_read(world: World, server: Server, cookie: str) -> None:
    body = b'{"title": "' + b"x" * (LIMIT - 13) + b'"}'
    assert len(body) == LIMIT
    answer = exchange(server, head(world, cookie, f"Content-Length: {LIMIT}"), [body])
    assert answer.startswith(b"HTTP/1.1 400"), answer[:300]
    assert b'"param": "title"' in answer


@pytest.mark.parametrize("length", ["-1", "1e9", "9" * 30, "9" * 5000, "0x10", "1, 1", "\xb2"])
def test_lengths_that_are_no_numbers_are_refused(
    world: World, server: Server, cookie: str, length: str
) -> None:
    answer = exchange(server, head(world, cookie, f"Content-Length: {length}"), [b"{}"])
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 413"), answer[:300]


def test_a_body_longer_than_announced_is_cut(
    world: World, server: Server, cookie: str, database: TestDatabase
) -> None:
    before = contents(database)
    sent = head(world, cookie, "Content-Length: 2")
    answer = exchange(server, sent, [b"{}" + PIECE])
    assert answer.startswith(b"HTTP/1.1 400")
    assert contents(database) == before


def test_a_body_that_never_comes_whole_changes_nothing(
    world: World, server: Server, cookie: str, database: TestDatabase
) -> None:
    before = contents(database)
    with closing(
        socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS)
    ) as connection:
        lines = head(world, cookie, "Content-Length: 100")
        connection.sendall("\r\n".join([*lines, "", '{"title": "Half']).encode())
        connection.shutdown(socket.SHUT_WR)
        received(connection)
    assert contents(database) == before


def test_the_server_goes_on(world: World, server: Server, cookie: str) -> None:
    exchange(server, head(world, cookie, f"Content-Length: {LIMIT + 1}"), [])
    body = b'{"title": "Still here"}'
    answer = exchange(server, head(world, cookie, f"Content-Length: {len(body)}"), [body])
    assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
    assert "Traceback" not in server.logged()


def upload_head(secret: str, length: int) -> list[str]:
    return [
        "POST /v1/files HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Authorization: Bearer {secret}",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {length}",
    ]


@pytest.mark.parametrize("length", [50_000_000, 600_000_000])
def test_a_file_of_somebody_without_a_key_is_refused_unread(server: Server, length: int) -> None:
    answer = exchange(server, upload_head("atr_unknown", length), [])
    assert_refused(answer, 401)
    assert b'"code": "invalid_api_key"' in answer


def test_a_file_with_a_key_is_read_beyond_what_other_bodies_may_have(
    world: World, server: Server
) -> None:
    secret = program_of(world.acme, "alice").secret
    begin = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    begin += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    pieces = [begin, *[PIECE] * 160, b"\r\n--x--\r\n"]
    answer = exchange(server, upload_head(secret, sum(map(len, pieces))), pieces)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
    assert b'"bytes":10485760' in answer


def test_a_file_beyond_the_limit_of_files_is_refused_unread(world: World, server: Server) -> None:
    secret = program_of(world.acme, "alice").secret
    answer = exchange(server, upload_head(secret, 600_000_000), [])
    assert answer.startswith(b"HTTP/1.1 413"), answer[:300]
    assert b'"code": "body_too_large"' in answer


def page_upload(cookie: str, length: int) -> list[str]:
    return [
        "POST /page/files HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Cookie: {cookie}",
        f"X-CSRFToken: {'c' * 32}",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {length}",
    ]


def test_a_file_for_a_chat_is_read_beyond_what_other_bodies_may_have(
    world: World, server: Server, cookie: str
) -> None:
    begin = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    pieces = [begin, *[PIECE] * 32, b"\r\n--x--\r\n"]
    answer = exchange(server, page_upload(cookie, sum(map(len, pieces))), pieces)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
    assert b'"bytes": 2097152' in answer


def test_a_file_for_a_chat_of_somebody_signed_out_is_refused_unread(server: Server) -> None:
    assert_refused(exchange(server, page_upload("sessionid=none", 50_000_000), []))


def test_a_file_that_the_company_has_no_room_for_is_refused_unread(
    world: World, server: Server, cookie: str
) -> None:
    with world.acme.scope():
        StorageUse.objects.create(bytes=conf.storage_bytes - 1_000_000)
    answer = exchange(server, page_upload(cookie, 50_000_000), [])
    assert answer.startswith(b"HTTP/1.1 400"), answer[:300]
    assert b'"code": "storage_full"' in answer


@pytest.mark.parametrize(("person", "begins"), [("adam", b"302"), ("alice", b"413")])
def test_documents_in_the_admin_may_be_large_for_admins_alone(
    world: World, server: Server, person: str, begins: bytes
) -> None:
    with world.acme.scope():
        store = VectorStore.objects.create(name="Policies")
    cookie = f"sessionid={world.acme.session_key(person)}; csrftoken={'c' * 32}"
    begin = b'--x\r\nContent-Disposition: form-data; name="documents"; filename="a.txt"\r\n\r\n'
    pieces = [begin, *[PIECE] * 32, b"\r\n--x--\r\n"]
    lines = page_upload(cookie, sum(map(len, pieces)))
    lines[0] = f"POST /admin/chat/vectorstore/{quote(store.pk)}/upload/ HTTP/1.1"
    answer = exchange(server, lines, pieces if person == "adam" else [])
    assert answer.startswith(b"HTTP/1.1 " + begins), answer[:300]
    with world.acme.scope():
        assert StoreFile.objects.filter(store=store).exists() == (person == "adam")


async def test_files_at_once_have_together_the_room_of_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal, answers = world.acme.principal("alice"), list[int]()

    def almost_full() -> None:
        with world.acme.scope():
            StorageUse.objects.create(bytes=conf.storage_bytes - 60_000)

    async def key(_scope: Any) -> Any:
        return principal

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            await limited({**scope, "path": "/second"}, receive, send)

    async def send(message: Any) -> None:
        answers.append(message.get("status", 0))

    await in_db(almost_full)
    monkeypatch.setattr(body_limit, "get_key_principal", key)
    limit = SizeLimit(path=re.compile("/"), most=200_000, who="key")
    limited = BodyLimitMiddleware(app, limits=[limit])
    first = {"method": "POST", "path": "/first", "headers": [(b"content-length", b"100000")]}
    await limited(first, never, send)
    assert answers == [400, 0]
    await limited({**first, "path": "/second"}, never, send)
    assert answers == [400, 0]


async def never() -> Any:
    raise AssertionError("nothing is read")
