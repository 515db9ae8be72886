"""The snippets of docs/api.md and README.md, run as they stand against the demonstration model."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.api.conftest import program_of
from tests.sdk import clients
from tests.server import Server
from tests.test_architecture import ROOT
from tests.world import World

QUIET = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"


def snippets(page: str, language: str) -> str:
    """Return the page's marked snippets in this language, one after the other."""
    text = (ROOT / page).read_text()
    found = re.findall(rf"<!-- {language} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found, f"{page} has no snippet in {language}"
    return "\n".join(found)


Printed = Callable[[list[str | Path]], str]


@pytest.fixture
def printed(world: World, demonstration: Server) -> Printed:
    """Runs a command with what the page tells to export: address and key of an admin's program."""
    scopes = ["read", "write", "admin", "act_for_users"]
    key = program_of(world.acme, "adam", scopes=scopes).secret
    return partial(clients.printed, url=demonstration.url, key=key)


def test_the_pages_python_answers_calls_and_acts_for_users(printed: Printed) -> None:
    code = QUIET + snippets("docs/api.md", "python")
    told = printed([sys.executable, "-c", code])
    assert told.startswith("completed ")
    assert "Graz: sunny, 21 degrees" in told
    assert re.search(r"\['thread_\w+'\]", told)


def test_the_pages_node_streams_an_answer(printed: Printed) -> None:
    node = clients.program("node", "node")
    with tempfile.NamedTemporaryFile("w", suffix=".mjs", dir=clients.FOLDER / "node") as file:
        file.write(snippets("docs/api.md", "node"))
        file.flush()
        told = printed([node, file.name])
    assert len(told.splitlines()) > 1
    assert told.endswith("completed\n")


def test_the_pages_curl_gets_models_assistants_and_a_thread(printed: Printed) -> None:
    told = printed(["bash", "-ec", snippets("docs/api.md", "curl")])
    decoder, found = json.JSONDecoder(), []
    while told:
        one, end = decoder.raw_decode(told)
        found.append(one["object"])
        told = told[end:].lstrip()
    assert found == ["list", "list", "thread"]


def test_the_readmes_python_prints_an_answer(printed: Printed) -> None:
    told = printed([sys.executable, "-c", QUIET + snippets("README.md", "python")])
    assert told.strip()
