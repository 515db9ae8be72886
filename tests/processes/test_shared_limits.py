"""Failed sign-ins through two server processes that share a Redis."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.database import TestDatabase
from tests.processes.conftest import Redis
from tests.server import Server, serve
from tests.world import PASSWORD, World

FREE_TRIES = 5


def browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def sign_in(client: aiohttp.ClientSession, server: Server, password: str) -> int:
    """Send alice's sign-in form and return the status of the answer."""
    url = f"{server.url}/accounts/login/"
    async with client.get(url) as page:
        assert page.status == 200
    [token] = [cookie.value for cookie in client.cookie_jar if cookie.key == "csrftoken"]
    form = {"login": "alice@acme.example", "password": password, "csrfmiddlewaretoken": token}
    async with client.post(url, data=form, allow_redirects=False) as answer:
        return answer.status


async def test_failures_count_in_both_processes_and_a_device_is_known_to_both(
    world: World, database: TestDatabase, redis: Redis, tmp_path: Path
) -> None:
    shared = {"REDIS_URL": redis.url}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        serve(database, tmp_path / "a", environment=shared, worker=False) as first,
        serve(database, tmp_path / "b", environment=shared, worker=False) as second,
    ):
        async with browser() as device, browser() as stranger:
            assert await sign_in(device, first, PASSWORD) == 302
            device.cookie_jar.clear(lambda cookie: cookie.key == "sessionid")
            statuses = [
                await sign_in(stranger, server, "wrong")
                for _time in range(FREE_TRIES)
                for server in (first, second)
            ]
            # Each process alone would have let all of its own pass.
            assert statuses[:FREE_TRIES] == [200] * FREE_TRIES
            assert 429 in statuses[FREE_TRIES:]
            assert await sign_in(device, second, PASSWORD) == 302
