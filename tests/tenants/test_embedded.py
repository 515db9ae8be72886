"""The embedded PostgreSQL on real clusters of its own, below a folder that any account reaches."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from config.local import backup, embedded, postgres_programs
from config.local.embedded import Cluster, ensure_running
from config.local.environment import serving
from config.local.postgres_programs import EmbeddedError
from tests.clock import wait_until
from tests.reaper import watch_cluster


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run one statement in a connection of its own and return its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def kill(cluster: Cluster) -> None:
    """End the server as a crash would."""
    pid = cluster.get_postmaster_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not cluster.is_running())


def dispose(data_dir: Path) -> None:
    """Stop whatever runs below the folder and remove it."""
    cluster = embedded.open_any_major(data_dir)
    if cluster is not None:
        cluster.stop()
        shutil.rmtree(cluster.socket_dir, ignore_errors=True)
    shutil.rmtree(data_dir)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder outside pytest's private one, which the server's account could not enter."""
    folder = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    folder.chmod(0o711)
    watch_cluster(folder)
    yield folder
    dispose(folder)


@pytest.fixture(scope="module")
def blank() -> Iterator[Path]:
    """A data folder with a stopped cluster, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    folder.chmod(0o711)
    watch_cluster(folder)
    ensure_running(folder, durable=False).stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def made(data_dir: Path, blank: Path) -> Path:
    """A data folder of this test's own, whose cluster is stopped."""
    subprocess.run(["cp", "-a", f"{blank}/.", str(data_dir)], check=True)
    return data_dir


def test_a_folder_of_before_recovers_with_one_sync(made: Path) -> None:
    configuration = made / "postgres" / "data" / "postgresql.conf"
    before = configuration.read_text().replace("recovery_init_sync_method = syncfs\n", "")
    configuration.write_text(before)
    running = ensure_running(made, durable=False)
    with running.connect_as_superuser() as connection:
        row = connection.execute("SHOW recovery_init_sync_method").fetchone()
    assert row == ("syncfs",)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A running cluster that the tests of this module share."""
    folder = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    folder.chmod(0o711)
    watch_cluster(folder)
    yield ensure_running(folder, durable=False)
    dispose(folder)


@pytest.fixture
def fresh(cluster: Cluster) -> Iterator[str]:
    """A fresh database's name."""
    cluster.create_database("test_embedded")
    yield "test_embedded"
    cluster.drop_database("test_embedded")


class TestHardening:
    def test_app_and_owner_are_weak(self, cluster: Cluster) -> None:
        rows = execute(
            cluster.url(embedded.SUPERUSER, "postgres"),
            "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE 'atrium_%' AND NOT "
            "(rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole) ORDER BY rolname",
        )
        assert rows == [("atrium_app", True), ("atrium_doors", False), ("atrium_owner", True)]

    @pytest.mark.parametrize("kind", ["TABLE", "TEMP TABLE"])
    def test_app_creates_no_table(self, cluster: Cluster, fresh: str, kind: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(cluster.app_url(fresh), f"CREATE {kind} mine (id int)")

    def test_app_writes_rows_of_the_owners_tables(self, cluster: Cluster, fresh: str) -> None:
        execute(cluster.owner_url(fresh), "CREATE TABLE note (id serial, words text)")
        execute(cluster.app_url(fresh), "INSERT INTO note (words) VALUES ('kept')")
        assert execute(cluster.app_url(fresh), "SELECT words FROM note") == [("kept",)]

    def test_app_truncates_nothing(self, cluster: Cluster, fresh: str) -> None:
        execute(cluster.owner_url(fresh), "CREATE TABLE note (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(cluster.app_url(fresh), "TRUNCATE note")

    def test_new_functions_of_doors_are_closed(self, cluster: Cluster, fresh: str) -> None:
        make = "CREATE FUNCTION doors.ask() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        execute(cluster.owner_url(fresh), f"BEGIN; SET LOCAL ROLE atrium_doors; {make}; COMMIT")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(cluster.app_url(fresh), "SELECT doors.ask()")

    def test_vector_is_there(self, cluster: Cluster, fresh: str) -> None:
        assert execute(cluster.app_url(fresh), "SELECT '[1,2]'::vector <-> '[1,3]'") == [(1.0,)]

    def test_superuser_needs_its_password(self, cluster: Cluster) -> None:
        address = f"postgresql://{embedded.SUPERUSER}:guess@/postgres?host={cluster.socket_dir}"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            execute(address, "SELECT 1")

    def test_app_sees_no_other_database(self, cluster: Cluster) -> None:
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            execute(cluster.app_url("postgres"), "SELECT 1")

    def test_no_network_address(self, cluster: Cluster) -> None:
        address = cluster.url(embedded.SUPERUSER, "postgres")
        assert execute(address, "SHOW listen_addresses") == [("",)]

    def test_files_are_private(self, cluster: Cluster) -> None:
        places = (cluster.home, cluster.socket_dir, cluster.data_dir / "database.json")
        modes = [stat.S_IMODE(place.stat().st_mode) for place in places]
        assert modes == [0o700, 0o700, 0o600]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another account")
    def test_private_folder_is_never_opened(self, data_dir: Path) -> None:
        home = data_dir / "home"
        home.mkdir(mode=0o700)
        with pytest.raises(EmbeddedError, match="does not open private folders"):
            ensure_running(home / "data")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another account")
    def test_private_checkout_keeps_data_outside(self, data_dir: Path) -> None:
        home = data_dir / "home"
        home.mkdir(mode=0o700)
        assert postgres_programs.default_data_dir(home).parent == Path("/var/lib/atrium")

    def test_unreachable_programs_are_copied(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_programs, "is_reachable", lambda path, account: False)
        account = postgres_programs.ensure_server_account()
        programs = postgres_programs.find_packaged_programs(data_dir, account)
        programs.run("pg_dump", "--version")
        assert programs.folder.is_relative_to(data_dir)


class TestLife:
    def test_running_server_is_used(self, cluster: Cluster) -> None:
        before = (cluster.data / "postmaster.pid").read_text()
        ensure_running(cluster.data_dir)
        assert (cluster.data / "postmaster.pid").read_text() == before

    def test_rows_survive_a_crash(self, made: Path) -> None:
        cluster = ensure_running(made)
        execute(cluster.owner_url(), "CREATE TABLE note AS SELECT 'kept' AS words")
        kill(cluster)
        ensure_running(made)
        assert execute(cluster.owner_url(), "SELECT words FROM note") == [("kept",)]

    def test_stale_file_naming_another_process(self, made: Path) -> None:
        cluster = ensure_running(made, durable=False)
        text = (cluster.data / "postmaster.pid").read_text()
        cluster.stop()
        (cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n{text.partition(chr(10))[2]}")
        ensure_running(made, durable=False)
        assert execute(cluster.app_url(), "SELECT 1") == [(1,)]

    def test_interrupted_set_up_is_finished(self, made: Path) -> None:
        cluster = ensure_running(made, durable=False)
        cluster.drop_database(embedded.MAIN)
        cluster.prepared.unlink()
        cluster.stop()
        ensure_running(made, durable=False)
        assert execute(cluster.app_url(), "SELECT 1") == [(1,)]

    def test_other_major_is_one_sentence(self, data_dir: Path) -> None:
        files = data_dir / "postgres" / "data"
        files.mkdir(parents=True)
        (files / "PG_VERSION").write_text("16\n")
        with pytest.raises(EmbeddedError, match="created by PostgreSQL 16"):
            ensure_running(data_dir)

    def test_unknown_major_is_one_sentence(self, data_dir: Path) -> None:
        account = postgres_programs.ensure_server_account()
        with pytest.raises(EmbeddedError, match="PostgreSQL 9, which Atrium does not include"):
            postgres_programs.find_packaged_programs(data_dir, account, major=9)

    def test_long_path_has_its_socket_elsewhere(self, data_dir: Path) -> None:
        cluster = ensure_running(data_dir / ("long" * 20), durable=False)
        answer = execute(cluster.app_url(), "SELECT 1")
        dispose(cluster.data_dir)
        assert answer == [(1,)]

    def test_last_user_stops_the_server(self, made: Path) -> None:
        with embedded.running(made, durable=False) as cluster:
            with embedded.running(made, durable=False):
                pass
            assert cluster.is_running()
        assert not cluster.is_running()

    def test_started_by_hand_it_stays(self, made: Path) -> None:
        with embedded.running(made, durable=False) as cluster:
            embedded.keep_running(cluster, keep=True)
        assert cluster.is_running()

    def test_foreign_socket_folder_is_refused(self, data_dir: Path) -> None:
        home = data_dir / "postgres"
        home.mkdir()
        postgres_programs.ensure_server_account().take_ownership(home)
        (home / "run").mkdir(mode=0o755)
        with pytest.raises(EmbeddedError, match="does not belong to Atrium"):
            ensure_running(data_dir)


class TestBackup:
    def test_restore_brings_the_rows_back(self, made: Path, tmp_path: Path) -> None:
        cluster = ensure_running(made, durable=False)
        execute(cluster.owner_url(), "CREATE TABLE note AS SELECT 'kept' AS words")
        backup.backup(cluster, tmp_path / "rows")
        execute(cluster.owner_url(), "UPDATE note SET words = 'lost'")
        backup.restore(cluster, tmp_path / "rows")
        assert execute(cluster.app_url(), "SELECT words FROM note") == [("kept",)]

    def test_restored_database_keeps_its_rules(self, made: Path, tmp_path: Path) -> None:
        cluster = ensure_running(made, durable=False)
        backup.backup(cluster, tmp_path / "rows")
        backup.restore(cluster, tmp_path / "rows")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(cluster.app_url(), "CREATE TEMP TABLE mine (id int)")

    def test_backup_is_private(self, cluster: Cluster, tmp_path: Path) -> None:
        backup.backup(cluster, tmp_path / "rows")
        assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o600

    def test_backup_overwrites_nothing(self, cluster: Cluster, tmp_path: Path) -> None:
        (tmp_path / "rows").write_text("mine")
        with pytest.raises(EmbeddedError, match="already exists"):
            backup.backup(cluster, tmp_path / "rows")

    def test_restore_waits_for_nobody(self, cluster: Cluster, tmp_path: Path) -> None:
        backup.backup(cluster, tmp_path / "rows")
        with (
            psycopg.connect(cluster.app_url()),
            pytest.raises(EmbeddedError, match=r"in use\. Stop Atrium"),
        ):
            backup.restore(cluster, tmp_path / "rows")

    def test_broken_file_changes_nothing(self, made: Path, tmp_path: Path) -> None:
        cluster = ensure_running(made, durable=False)
        execute(cluster.owner_url(), "CREATE TABLE note AS SELECT 'kept' AS words")
        (tmp_path / "rows").write_text("no backup at all")
        with pytest.raises(EmbeddedError, match="pg_restore failed"):
            backup.restore(cluster, tmp_path / "rows")
        assert execute(cluster.owner_url(), "SELECT words FROM note") == [("kept",)]

    def test_upgrade_keeps_the_rows(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as older:
            older.setattr(embedded, "MAJOR", 16)
            old = ensure_running(data_dir, durable=False)
        execute(old.owner_url(), "CREATE TABLE note AS SELECT 'kept' AS words")
        old.stop()
        backup.upgrade(data_dir)
        new = ensure_running(data_dir, durable=False)
        assert new.programs.major == postgres_programs.MAJOR
        assert execute(new.owner_url(), "SELECT words FROM note") == [("kept",)]

    def test_only_one_serves(self, data_dir: Path) -> None:
        with (
            serving(data_dir),
            pytest.raises(EmbeddedError, match="already running from"),
            serving(data_dir),
        ):
            pass
