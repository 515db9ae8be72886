"""`manage.py` and `up` as real processes with a separate data folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from config.local import embedded, prewarmed, supervisor
from config.local.environment import announce, serving
from tests.clock import WAIT_SECONDS, wait_until
from tests.database import data_dir as suite_dir
from tests.ports import reserved_port
from tests.reaper import watch_cluster

ROOT = Path(__file__).resolve().parent.parent
OURS = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "PORT")


def manage(data_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one management command until it exits."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(data_dir, **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment without Atrium's variables, plus `variables`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in OURS and not name.startswith(("ATRIUM_", "OPENAI_", "PYTEST_"))
    }
    return {**kept, "ATRIUM_DATA_DIR": str(data_dir), "PYTHONWARNINGS": "error", **variables}


@pytest.fixture
def port() -> Iterator[int]:
    """Port on which only servers started by the test listen."""
    with reserved_port() as reserved:
        yield reserved


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """Data folder of this module; the first command creates its database."""
    folder = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    folder.chmod(0o711)
    watch_cluster(folder)
    yield folder
    if (cluster := embedded.locate(folder)) is not None:
        cluster.stop()
    shutil.rmtree(folder)


def refusal(data_dir: Path, *arguments: str, **variables: str) -> str:
    """Return the one-sentence error of a command; fail if it ends in any other way."""
    result = manage(data_dir, *arguments, **variables)
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


class TestRefusals:
    @pytest.mark.parametrize(
        ("variables", "named"),
        [
            ({"PORT": "eighty"}, "PORT"),
            ({"DATABASE_URL": "mysql://somewhere/atrium"}, "DATABASE_URL"),
            ({"ATRIUM_RUN_SECONDS": "soon"}, "ATRIUM_RUN_SECONDS"),
            ({"EMAIL_URL": "smtp://mail.example"}, "PUBLIC_URL"),
        ],
    )
    def test_value_that_cannot_work(
        self, data_dir: Path, variables: dict[str, str], named: str
    ) -> None:
        assert named in refusal(data_dir, "up", **variables)

    def test_database_that_does_not_answer(self, data_dir: Path, port: int) -> None:
        address = f"postgresql://atrium_app:x@127.0.0.1:{port}/atrium"
        said = refusal(data_dir, "up", "--port", str(port), DATABASE_URL=address)
        assert "DATABASE_URL" in said

    def test_second_up(self, data_dir: Path) -> None:
        with serving(data_dir):
            announce(data_dir, "http://127.0.0.1:8000")
            assert f"already running from {data_dir} on http://127.0.0.1:8000" in refusal(
                data_dir, "up"
            )

    def test_port_in_use(self, data_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert f"Port {port} is in use" in refusal(data_dir, "up", "--port", str(port))

    def test_demonstration_off_loopback(self, data_dir: Path) -> None:
        assert "--no-demo" in refusal(data_dir, "up", "--host", "0.0.0.0")

    def test_demonstration_loaded_before(self, tmp_path: Path) -> None:
        (tmp_path / "demo.loaded").touch()
        database = {"DATABASE_URL": "postgresql://nobody@127.0.0.1/none"}
        said = refusal(tmp_path, "up", "--host", "0.0.0.0", "--no-demo", **database)
        assert "passwords were printed" in said

    def test_db_of_another_server(self, data_dir: Path) -> None:
        said = refusal(data_dir, "db", "stop", DATABASE_URL="postgresql://nobody@127.0.0.1/none")
        assert "embedded server only" in said

    def test_restore_while_serving(self, data_dir: Path) -> None:
        with serving(data_dir):
            assert "Stop it first" in refusal(data_dir, "db", "restore", "rows.backup")


class TestDatabaseCommands:
    def test_json_is_one_object(self, data_dir: Path) -> None:
        answers = [
            json.loads(manage(data_dir, "db", thing, "--json").stdout)
            for thing in ("start", "url", "stop")
        ]
        assert [answer["running"] for answer in answers] == [True, True, False]

    def test_roles_name_no_kept_password(self, data_dir: Path) -> None:
        manage(data_dir, "db", "start")
        manage(data_dir, "db", "stop")
        printed = manage(data_dir, "db", "roles").stdout
        passwords = json.loads((data_dir / "database.json").read_text()).values()
        assert "CREATE ROLE atrium_app" in printed
        assert not [password for password in passwords if password in printed]


class TestSecrets:
    def test_made_once_and_private(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "private").mkdir()
        variables = {"DATABASE_URL": "mysql://nowhere"}  # up fails here, after the secrets
        manage(tmp_path / "private", "up", **variables)
        file = tmp_path / "private" / "secrets.json"
        before = file.read_text()
        manage(tmp_path / "private", "up", **variables)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == before

    def test_commands_on_another_server_make_none(self, tmp_path: Path) -> None:
        manage(tmp_path, "check", DATABASE_URL="mysql://nowhere")
        assert not (tmp_path / "secrets.json").exists()


class Listing(BaseHTTPRequestHandler):
    """Model server that lists one model."""

    def do_GET(self) -> None:
        """Answer /v1/models."""
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "small-model"}]}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Log nothing."""


class TestModelServers:
    def test_listing_server_is_found(self, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervisor, "PROBE_SECONDS", WAIT_SECONDS)
        with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            places = {"Ollama": server.server_port, "vLLM": port}
            monkeypatch.setattr(supervisor, "MODEL_SERVERS", places)
            found = supervisor.find_model_servers(except_port=0)
            server.shutdown()
        assert found == [f"Ollama at http://127.0.0.1:{places['Ollama']}/v1 with small-model"]


@pytest.mark.slow
class TestUp:
    def start(self, data_dir: Path, port: int, **variables: str) -> subprocess.Popen[str]:
        """Start `up` and return it when it has printed its address."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--no-demo", "--port", str(port)],
            cwd=ROOT,
            env=environment(data_dir, ATRIUM_STATIC_DIR=str(suite_dir() / "static"), **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        read: list[str] = []
        for line in process.stdout:
            read.append(line)
            if "Atrium is ready" in line:
                return process
        raise AssertionError("".join(read))

    def healthy(self, port: int) -> bool:
        """Return True if the server answers."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/healthz", timeout=WAIT_SECONDS
        ) as answer:
            return bool(answer.status == 200)

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
    def test_serves_and_stops_cleanly(self, data_dir: Path, port: int, how: signal.Signals) -> None:
        with self.start(data_dir, port) as process:
            assert self.healthy(port)
            process.send_signal(how)
            assert process.wait(WAIT_SECONDS) == 0
        cluster = embedded.locate(data_dir)
        assert cluster is not None
        assert not cluster.is_running()

    def test_restarts_a_server_that_died(self, data_dir: Path, port: int) -> None:
        with self.start(data_dir, port) as process:
            os.kill(server_of(process.pid), signal.SIGKILL)
            assert process.stdout is not None
            assert any("exited unexpectedly" in line for line in process.stdout)
            before = process.poll()
            process.terminate()
            assert (before, process.wait(WAIT_SECONDS)) == (None, 0)

    def test_successor_of_a_killed_server_takes_its_answers_over_at_once(
        self, data_dir: Path, port: int
    ) -> None:
        # No lease expires within an hour: the successor releases the claims of the dead process.
        slow = {"ATRIUM_LAPSE_SECONDS": "3600", "ATRIUM_DEMO_TOKENS_PER_SECOND": "0.2"}
        with self.start(data_dir, port, **slow) as process:
            run = begin_answer(data_dir, port)
            cluster = embedded.locate(data_dir)
            assert cluster is not None
            wait_until(lambda: claim_of(cluster, run)[1] == "in_progress")
            first = claim_of(cluster, run)
            os.kill(server_of(process.pid), signal.SIGKILL)
            wait_until(lambda: claim_of(cluster, run)[2] == 2)
            second = claim_of(cluster, run)
            process.kill()
        assert first[0] != second[0]
        assert (first[2:], second[2:]) == ((1, 0), (2, 1))
        cluster.stop()

    def test_restarts_a_database_that_died(self, data_dir: Path, port: int) -> None:
        with self.start(data_dir, port) as process:
            cluster = embedded.locate(data_dir)
            assert cluster is not None
            database = cluster.get_postmaster_pid()
            assert database is not None
            os.kill(database, signal.SIGKILL)
            assert process.stdout is not None
            assert any("The database exited unexpectedly" in line for line in process.stdout)
            wait_until(lambda: is_ready(port))
            process.terminate()
            assert process.wait(WAIT_SECONDS) == 0

    def test_killed_supervisor_takes_the_server_along(self, data_dir: Path, port: int) -> None:
        with self.start(data_dir, port) as process:
            process.kill()
            process.wait(WAIT_SECONDS)
            assert process.stdout is not None
            process.stdout.read()  # returns when the server has closed its output as well
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass
        assert manage(data_dir, "db", "stop").returncode == 0


def test_server_knows_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_DATABASE_URL", "postgresql://atrium_owner@/atrium")
    monkeypatch.setenv("DATABASE_URL", "postgresql://atrium_app@/atrium")
    with prewarmed.spawn() as process:
        variables = Path(f"/proc/{process.pid}/environ").read_bytes()
        process.kill()
    assert b"DATABASE_URL=postgresql://atrium_app" in variables
    assert b"atrium_owner" not in variables


def begin_answer(data_dir: Path, port: int) -> str:
    """Create a company with an assistant and a key; return the run of a question to it."""
    company = ("--tenant", "harbor")
    manage(data_dir, "create_tenant", "harbor", "--name", "Harbor")
    manage(data_dir, "create_user", "lena@harbor.example", *company, "--role", "owner", "--json")
    made = manage(
        data_dir,
        *("create_assistant", *company, "--name", "Desk", "--model", "demo-scripted", "--json"),
    )
    assistant = json.loads(made.stdout)["id"]
    key = manage(
        data_dir,
        *("create_api_key", *company, "--user", "lena@harbor.example", "--name", "k", "--json"),
    )
    body = {
        "assistant_id": assistant,
        "thread": {"messages": [{"role": "user", "content": "What can you do?"}]},
    }
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/threads/runs",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {json.loads(key.stdout)['key']}",
            "Content-Type": "application/json",
            "OpenAI-Beta": "assistants=v2",
        },
    )
    with urllib.request.urlopen(asked, timeout=WAIT_SECONDS) as answer:
        return str(json.load(answer)["id"])


def claim_of(cluster: embedded.Cluster, run: str) -> tuple[Any, ...]:
    """Return the owner, status, token and number of take-overs of a run."""
    with cluster.connect_as_superuser(embedded.MAIN) as connection:
        rows = connection.execute(
            "SELECT owner, status, token, takeovers FROM chat_run WHERE id = %s", [run]
        ).fetchall()
    return rows[0]


def is_ready(port: int) -> bool:
    """Return True if the server has its database and a worker."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/readyz", timeout=WAIT_SECONDS
        ) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def server_of(supervisor_pid: int) -> int:
    """Return the process id of the server started by `up`."""
    children = Path(f"/proc/{supervisor_pid}/task/{supervisor_pid}/children").read_text().split()
    return int(children[0])
