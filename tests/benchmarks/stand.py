"""Everything under test as processes of their own: PostgreSQL, test upstream, relay, Atrium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from config.local import environment, prewarmed
from tests.benchmarks.usage import Watched
from tests.ports import reserved_port

CHECKOUT = Path(__file__).resolve().parent.parent.parent
EMAIL, PASSWORD = "bench@bench.example", "correct-horse-42"
NEIGHBOUR_EMAIL = "neighbour@neighbour.example"
COMPANY, NEIGHBOUR = "bench", "neighbour"
START_SECONDS = 180
OURS = ("ATRIUM_", "OPENAI_", "DATABASE_", "MIGRATION_", "REDIS_", "PUBLIC_", "ALLOWED_")


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Where things listen, which processes they are, and who is signed in."""

    data_dir: Path
    upstream: str
    relay: str
    relay_process: Watched
    assistant: str
    tools: str
    key: str
    neighbour_assistant: str


@dataclass(frozen=True, kw_only=True)
class Atrium:
    """A running server process and the seconds from its start to its first answer."""

    url: str
    process: Watched
    start_seconds: float


@contextmanager
def stand() -> Iterator[Stand]:
    """Lend a durable database with a company in it, the upstream and the relay."""
    data_dir = Path(tempfile.gettempdir()) / f"atrium-bench-{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
        port, relay_port = (stack.enter_context(reserved_port()) for _port in range(2))
        upstream = f"http://127.0.0.1:{port}"
        _set_environment(data_dir, upstream)
        stack.enter_context(environment.environment(["bench"]))
        stack.enter_context(_module("tests.upstream.server", port, "--free"))
        relay = stack.enter_context(
            _module("tests.benchmarks.relay", relay_port, "--to", f"{upstream}/v1/responses")
        )
        yield Stand(
            data_dir=data_dir,
            upstream=upstream,
            relay=f"http://127.0.0.1:{relay_port}/",
            relay_process=relay,
            **_fill_database(),
        )


@contextmanager
def atrium(python: str) -> Iterator[Atrium]:
    """Start a server as `manage.py up` does, with this Python; wait for its first answer."""
    from config.local.supervisor import build_server_arguments

    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        began = time.monotonic()
        process = prewarmed.spawn(python)
        prewarmed.serve(process, build_server_arguments("127.0.0.1", port))
        try:
            _wait_for(f"{url}/healthz", process)
            seconds = time.monotonic() - began
            yield Atrium(url=url, process=Watched(process.pid), start_seconds=seconds)
        finally:
            _stop(process)


async def sign_in(url: str, email: str = EMAIL) -> str:
    """Sign in through the page and return the Cookie header."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as client:
        async with client.get(f"{url}/accounts/login/") as page:
            page.raise_for_status()
        token = next(cookie.value for cookie in jar if cookie.key == "csrftoken")
        form = {"login": email, "password": PASSWORD, "csrfmiddlewaretoken": token}
        async with client.post(
            f"{url}/accounts/login/", data=form, headers={"Referer": url}, allow_redirects=False
        ) as answer:
            if answer.status != 302:
                raise RuntimeError(f"Signing in was answered with {answer.status}.")
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in jar)


def _set_environment(data_dir: Path, upstream: str) -> None:
    """Settings as in production; only the sockets of one person are not limited to a few."""
    # Where people run it, what Python compiled once is kept.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(
        ATRIUM_DATA_DIR=str(data_dir),
        ATRIUM_SOCKETS_PER_USER="5000",
        ATRIUM_RUNS_PER_MEMBER="5000",
        ATRIUM_RUNS_PER_TENANT="5000",
        ATRIUM_RUNS_PER_MINUTE="1000000",
        ATRIUM_RUNS_PER_MINUTE_PER_TENANT="1000000",
        ATRIUM_PAGE_REQUESTS_PER_MINUTE="1000000",
        ATRIUM_CONNECTIONS="10000",
        ATRIUM_API_STREAMS_PER_KEY="5000",
        ATRIUM_API_REQUESTS_PER_MINUTE="1000000",
        ATRIUM_API_REQUESTS_PER_MINUTE_PER_TENANT="1000000",
        OPENAI_BASE_URL=f"{upstream}/v1",
        ATRIUM_MODEL="test-model",
        LOG_LEVEL="WARNING",
        DJANGO_SETTINGS_MODULE="config.settings",
    )


def _fill_database() -> dict[str, str]:
    """Make a company with a person, their key, an assistant and one that has a tool."""
    _manage("migrate", "--verbosity", "0")
    for slug in (COMPANY, NEIGHBOUR):
        _manage("create_tenant", slug, "--name", slug.title(), "--json")
    for email, slug in ((EMAIL, COMPANY), (NEIGHBOUR_EMAIL, NEIGHBOUR)):
        _manage("create_user", email, "--tenant", slug, "--password", PASSWORD, "--json")
    of_neighbour = ("--tenant", NEIGHBOUR, "--name", "Bench", "--model", "test-model", "--json")
    neighbour_assistant = _made("create_assistant", *of_neighbour)["id"]
    named = ("--tenant", COMPANY, "--name", "Bench", "--model", "test-model", "--json")
    assistant = _made("create_assistant", *named)["id"]
    tools = _made("create_assistant", *named, "--tools", "list_orders")["id"]
    key = _made("create_api_key", "--tenant", COMPANY, "--user", EMAIL, "--name", "Bench", "--json")
    _manage("collectstatic", "--no-input", "--verbosity", "0")
    return {
        "assistant": assistant,
        "tools": tools,
        "key": key["key"],
        "neighbour_assistant": neighbour_assistant,
    }


def _made(*arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(_manage(*arguments))
    return made


def _manage(*arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def _module(name: str, port: int, *arguments: str) -> Iterator[Watched]:
    command = [sys.executable, "-m", name, "--port", str(port), *arguments]
    process = subprocess.Popen(command, cwd=CHECKOUT, text=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/", process)
        yield Watched(process.pid)
    finally:
        _stop(process)


def _wait_for(url: str, process: subprocess.Popen[str]) -> None:
    """Wait until anything answers there. Raises RuntimeError when the process ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return  # an answer, if only that there is nothing at this path
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"Nothing answers at {url}.")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
