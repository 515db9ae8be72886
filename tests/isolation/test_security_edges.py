"""Attacks on the edges: other origins, forged addresses, walls with a hole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django import Settings

from config.local.prewarmed import CHECKOUT
from config.local.supervisor import build_server_arguments
from tenants.asgi import SameOriginMiddleware
from tenants.checks import check_row_level_security
from tests.clock import WAIT_SECONDS
from tests.database import TestDatabase
from tests.world import World

HOST = b"127.0.0.1:8000"


async def _accepts(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    await send({"type": "websocket.accept"})


async def handshake(*headers: tuple[bytes, bytes], host: bytes = HOST, scheme: str = "ws") -> str:
    named = [(b"host", host), *headers]
    scope = {"type": "websocket", "path": "/ws/", "scheme": scheme, "headers": named}
    communicator: Any = ApplicationCommunicator(  # type: ignore[no-untyped-call]
        SameOriginMiddleware(_accepts), scope
    )
    answer = await communicator.receive_output(timeout=WAIT_SECONDS)
    return str(answer["type"])


async def test_own_page_opens_a_socket() -> None:
    assert await handshake((b"origin", b"http://127.0.0.1:8000")) == "websocket.accept"


@pytest.mark.parametrize(
    "origin", [b"http://127.0.0.1:3000", b"http://localhost:8000", b"null", b"https://evil.example"]
)
async def test_page_of_another_origin_opens_none(origin: bytes) -> None:
    assert await handshake((b"origin", origin)) == "websocket.close"


@pytest.mark.parametrize(
    "origin",
    [
        *(b"https://127.0.0.1:8000", b"javascript://127.0.0.1:8000", b"file://127.0.0.1:8000"),
        *(b"http://127.0.0.1:8000/", b"http://u@127.0.0.1:8000", b"http://127.0.0.1:8000:80"),
        *(b"http://127.0.0.1", b"http://127.0.0.1:08000x", b"http://", b""),
    ],
)
async def test_an_origin_of_another_scheme_or_form_opens_none(origin: bytes) -> None:
    assert await handshake((b"origin", origin)) == "websocket.close"


async def test_a_page_by_http_opens_no_socket_of_https() -> None:
    host = b"chat.example.com"
    http, https = ((b"origin", b"%s://%s" % (scheme, host)) for scheme in (b"http", b"https"))
    assert await handshake(http, host=host, scheme="wss") == "websocket.close"
    assert await handshake(https, host=host, scheme="wss") == "websocket.accept"
    assert await handshake(https, host=host, scheme="ws") == "websocket.close"


async def test_the_public_address_is_reached_by_its_own_scheme_alone(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example.com"]
    for host in (b"chat.example.com", b"chat.example.com:443"):
        http = (b"origin", b"http://chat.example.com")
        assert await handshake(http, host=host) == "websocket.close"
        https = (b"origin", b"https://chat.example.com")
        assert await handshake(https, host=host) == "websocket.accept"


async def test_handshake_without_an_origin_opens_none() -> None:
    assert await handshake() == "websocket.close"


async def test_public_address_opens_a_socket_behind_a_proxy(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://chat.example.com"]
    assert await handshake((b"origin", b"https://chat.example.com")) == "websocket.accept"


def test_forwarded_addresses_are_believed_from_nobody_by_default(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = []
    assert "--no-proxy-headers" in build_server_arguments("127.0.0.1", 8000)


def test_forwarded_addresses_are_believed_from_the_proxies(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.5", "10.1.0.0/16"]
    arguments = build_server_arguments("127.0.0.1", 8000)
    assert arguments[arguments.index("--forwarded-allow-ips") + 1] == "10.0.0.5,10.1.0.0/16"


HOLES = {
    "policy": (
        "CREATE POLICY all_of_it ON tenants_apikey TO atrium_app USING (true)",
        "DROP POLICY all_of_it ON tenants_apikey",
    ),
    "policy for everybody": (
        "CREATE POLICY all_of_it ON tenants_apikey USING (true)",
        "DROP POLICY all_of_it ON tenants_apikey",
    ),
    "view": (
        "CREATE VIEW all_keys AS SELECT * FROM tenants_apikey",
        "DROP VIEW all_keys",
    ),
}


@pytest.fixture(params=HOLES)
def hole(request: pytest.FixtureRequest, world: World, database: TestDatabase) -> Iterator[None]:
    make, mend = HOLES[request.param]
    database.owner.execute(make)
    yield
    database.owner.execute(mend)


def test_check_finds_a_hole_in_a_wall_that_stands(hole: None) -> None:
    assert [message.id for message in check_row_level_security(databases=["default"])] == [
        "tenants.E012"
    ]


@pytest.mark.parametrize("given", [{}, {"SECRET_KEY": "x" * 50}])
def test_nothing_is_served_with_keys_that_everybody_knows(given: dict[str, str]) -> None:
    started = subprocess.run(
        [sys.executable, "-c", "import config.asgi"],
        cwd=CHECKOUT,
        env={"DJANGO_SETTINGS_MODULE": "config.settings", **given},
        capture_output=True,
    )
    assert started.returncode != 0
    assert b"must be set to serve" in started.stderr
