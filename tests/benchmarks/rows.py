"""A million messages, made inside PostgreSQL from a few that were really sent.

Every new row is a copy of one with other ids, so this knows no columns but those it changes.
Keys are not checked meanwhile: the rows fit, and a million look-ups would take longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from config.local import embedded
from config.local.embedded import MAIN
from tests.benchmarks.stand import Stand

THREADS, MESSAGES_EACH = 25_000, 40
# A long message in all those threads, so that ten fill the prompt as well as ten thousand.
LONG_TEXT = 10_000
SHORT, LONG = 10, 10_000

PAIRS = (
    "generate_series({first}, {threads}, {first}) AS n, generate_series({of}, {each}, {of}) AS p"
)
# Every tenth thread has its runs: those are the ones that are read.
READ = 10
OWN = "{name} || lpad(p::text, 5, '0')"
TEXT = """jsonb_build_array(jsonb_build_object('type', 'text',
    'text', jsonb_build_object('value', {value}, 'annotations', '[]'::jsonb)))"""


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A thread with one message, its answer, and the run and step between, by their ids."""

    thread: str
    message: str
    answer: str
    run: str
    step: str


@dataclass(frozen=True, kw_only=True)
class Many:
    """Ids of what was made: threads of forty messages with their runs, and the two compared."""

    threads: list[str]
    runs: list[str]
    short: str
    long: str


@dataclass(frozen=True)
class Copy:
    """Rows like `row`, one for each of `numbers` (n, p), with SQL for the `changes`."""

    table: str
    row: str
    numbers: str
    changes: dict[str, str]
    where: str = "true"

    def sql(self, columns: Sequence[str]) -> str:
        """Return the statement that makes them."""
        values = ", ".join(self.changes.get(name, f'one."{name}"') for name in columns)
        source = f"{self.table} AS one, {self.numbers}"
        where = f"one.id = '{self.row}' AND {self.where}"
        return f"INSERT INTO {self.table} SELECT {values} FROM {source} WHERE {where}"


def fill(stand: Stand, talk: Talk) -> Many:
    """Copy `talk` until there are a million messages, and two threads of 10 and 10,000."""
    copies = [
        *_many(talk),
        *_one_thread(talk, "short", SHORT),
        *_one_thread(talk, "long", LONG),
    ]
    with (
        embedded.running(stand.data_dir) as cluster,
        cluster.connect_as_superuser(MAIN) as database,
    ):
        database.execute("SET session_replication_role = replica")
        database.execute("SET synchronous_commit = off")
        for copy in copies:
            database.execute(copy.sql(_columns(database, copy.table)))
        database.execute("VACUUM ANALYZE")
    step = THREADS // 100
    return Many(
        threads=[_id("thread_", str(n)) for n in range(step, THREADS + 1, step)],
        runs=[_id("run_", f"{n}00002") for n in range(step, THREADS + 1, step)],
        short=_id("thread_", "short"),
        long=_id("thread_", "long"),
    )


def _columns(database: psycopg.Connection[Any], table: str) -> list[str]:
    return [column.name for column in database.execute(f"TABLE {table} LIMIT 0").description or ()]


def use_demonstration(stand: Stand, assistant: str) -> None:
    """Let an assistant be answered by the scripted model, which calls tools."""
    with embedded.running(stand.data_dir) as cluster:
        change = "UPDATE chat_assistant SET model = 'demo-scripted', upstream = 'demo'"
        cluster.execute([f"{change} WHERE id = '{assistant}'"], db=MAIN)


def _many(talk: Talk) -> list[Copy]:
    name, own = "n::text", OWN.format(name="n::text")
    numbers = PAIRS.format(first=1, threads=THREADS, of=1, each=MESSAGES_EACH)
    threads = {
        "id": _made("thread_", name),
        "title": "'Chat ' || n",
        "last_position": str(MESSAGES_EACH),
        "updated_at": "now() - n * interval '1 minute'",
    }
    read = PAIRS.format(first=READ, threads=THREADS, of=2, each=MESSAGES_EACH)
    run = {"id": _made("run_", own), "thread_id": _made("thread_", name)}
    step = {
        "id": _made("step_", own),
        "run_id": _made("run_", own),
        "message_id": _made("msg_", own),
    }
    return [
        Copy("chat_thread", talk.thread, f"generate_series(1, {THREADS}) AS n", threads),
        *_messages(talk, numbers, name, own, value="'A message of some length, the ' || p || 'th'"),
        Copy("chat_run", talk.run, read, run),
        Copy("chat_runstep", talk.step, read, step),
    ]


def _one_thread(talk: Talk, name: str, count: int) -> list[Copy]:
    quoted = f"'{name}'"
    numbers = PAIRS.format(first=1, threads=1, of=1, each=count)
    thread = {"id": _made("thread_", quoted), "last_position": str(count)}
    value = f"rpad('Message ' || p || ' ', {LONG_TEXT}, 'words and more ')"
    return [
        Copy("chat_thread", talk.thread, "generate_series(1, 1) AS n", thread),
        *_messages(talk, numbers, quoted, OWN.format(name=quoted), value=value),
    ]


def _messages(talk: Talk, numbers: str, name: str, own: str, *, value: str) -> list[Copy]:
    changes = {
        "id": _made("msg_", own),
        "thread_id": _made("thread_", name),
        "position": "p",
        "content": TEXT.format(value=value),
        "client_id": "null",
        "created_at": "now() - interval '30 days' + p * interval '1 second'",
    }
    return [
        Copy("chat_message", talk.message, numbers, changes, where="p % 2 = 1"),
        Copy(
            "chat_message",
            talk.answer,
            numbers,
            {**changes, "run_ref": _made("run_", own)},
            where="p % 2 = 0",
        ),
    ]


def _made(prefix: str, name: str) -> str:
    """Return the SQL of the id that belongs to a name, which is digits."""
    return f"'{prefix}' || lpad({name}, 24, '0')"


def _id(prefix: str, name: str) -> str:
    return f"{prefix}{name:0>24}"
