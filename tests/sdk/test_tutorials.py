"""The vendor's tutorial about a PDF, in both spellings: only address, key and model are ours."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import program_of
from tests.model_server import ModelServer
from tests.retrieval import files
from tests.sdk import clients
from tests.upstream.script import Answer, Call
from tests.world import World

TABLES = "A new table is made with CREATE TABLE, its name and its columns."
DROPPED = "DROP TABLE removes a table with all its rows."
CREATED = "Write CREATE TABLE with the name and the columns"
REMOVED = "Take DROP TABLE, and it is gone with its rows"
QUESTIONS = ("How to create a table in PostgreSQL", "And how do I get rid of it again?")
MARK = r"【\w{4}:\d+†manual\.pdf】"


@pytest.fixture
def knowing(model: ModelServer) -> ModelServer:
    """A model that looks for what it is asked, and cites what it was given."""
    search = Answer(calls=(Call(name="file_search", arguments='{"query": "create a table"}'),))
    again = Answer(calls=(Call(name="file_search", arguments='{"query": "remove a table"}'),))
    created = Answer(say=(CREATED, "{mark 1}", "."))
    model.upstream.when(QUESTIONS[0], search, created)
    model.upstream.when(QUESTIONS[1], again, Answer(say=(REMOVED, "{mark -1}", ".")))
    return model


def told(python: Path, name: str, model: ModelServer, world: World, folder: Path) -> list[str]:
    """Run a tutorial's program and return the lines it prints."""
    manual = folder / "manual.pdf"
    manual.write_bytes(files.pdf(TABLES, DROPPED))
    command: list[str | Path] = [
        python,
        "-W",
        "ignore::DeprecationWarning",
        clients.FOLDER / name,
        manual,
    ]
    key = program_of(world.acme, "adam").secret
    said = clients.printed(command, url=model.server.url, key=key, OPENAI_MODEL="test-model")
    return said.splitlines()


def last_prompt(model: ModelServer) -> str:
    """Return everything the model was given for its last answer."""
    body: Any = model.upstream.model_requests()[-1].body
    return json.dumps(body, ensure_ascii=False)


def test_version_1_with_the_client_of_1_2(
    knowing: ModelServer, world: World, tmp_path: Path
) -> None:
    python = clients.program("python", "openai-1.2")
    lines = told(python, "postgresql_v1.py", knowing, world, tmp_path)
    used = ["Used retrieval", "The run is completed"]
    assert lines[:6] == ["The assistant has the file.", *used, *used, f"user: {QUESTIONS[0]}"]
    answer, citation, _question, second, other = lines[6:]
    assert re.fullmatch(f"assistant: {CREATED}{MARK}.", answer)
    assert re.fullmatch(f"  {MARK} is True: {TABLES}", citation)
    assert re.fullmatch(f"assistant: {REMOVED}{MARK}.", second)
    assert re.fullmatch(f"  {MARK} is True: .*DROP TABLE.*", other)
    assert QUESTIONS[0] in last_prompt(knowing)
    assert CREATED in last_prompt(knowing)


def test_version_2_with_the_present_client(
    knowing: ModelServer, world: World, tmp_path: Path
) -> None:
    lines = told(Path(sys.executable), "postgresql_v2.py", knowing, world, tmp_path)
    assert lines[:2] == ["The batch is completed with 1 file.", "Used file_search"]
    assert any(line.startswith("  found manual.pdf: ") and TABLES in line for line in lines)
    [answer, citation] = lines[lines.index(f"user: {QUESTIONS[0]}") + 1 :][:2]
    assert re.fullmatch(f"assistant: {CREATED}{MARK}.", answer)
    assert re.fullmatch(f"  {MARK} is from manual.pdf", citation)
    assert REMOVED in lines[-2]
    assert re.fullmatch(f"  {MARK} is from manual.pdf", lines[-1])
    assert QUESTIONS[0] in last_prompt(knowing)
    assert CREATED in last_prompt(knowing)
