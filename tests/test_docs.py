"""The documentation agrees with the code: links, commands, variables, frames, close codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import get_commands

from chat.web import consumers
from chat.web.frames import FRAMES
from tests.test_architecture import ROOT, tracked

PAGES = tracked("*.md")
OPERATIONS = ROOT / "docs" / "operations.md"
WEBSOCKET = ROOT / "docs" / "websocket.md"
# Read by a command, not by the settings.
READ_ELSEWHERE = {"PORT"}
RESTARTING = 1012


def label(path: Path) -> str:
    """Return the path as shown in test ids."""
    return str(path.relative_to(ROOT))


def anchor(heading: str) -> str:
    """Return the anchor of a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of all headings of a page."""
    return {anchor(found) for found in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images that are in the repository."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            yield target


def table_rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the tables below a heading, without the header rows."""
    section = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(f"{heading}\n"))
    lines = [line for line in body.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if row[0].startswith("`") or row[0][:1].isdigit()]


def settings_variables() -> set[str]:
    """Return the variables that the settings `read(kind, name)` or `build_database(name)`."""
    places = {"read": 1, "build_database": 0}
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    named = [
        call.args[places[call.func.id]]
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in places
    ]
    return {str(name.value) for name in named if isinstance(name, ast.Constant)}


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, part = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), f"{label(page)} links to {target}"
        if part:
            assert part in anchors(place), f"{label(page)} links to {target}"


def test_every_variable_is_documented_and_exists() -> None:
    documented = {row[0].strip("`") for row in table_rows(OPERATIONS, "Environment variables")}
    assert documented == settings_variables() | READ_ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_variables_named_in_passing_exist(page: Path) -> None:
    for_tests = {"ATRIUM_TEST_DATA_DIR", "ATRIUM_REQUIRE", "ATRIUM_LOCAL_PYTHON"}
    named = set(re.findall(r"\bATRIUM_[A-Z0-9_]*[A-Z]", page.read_text()))
    assert named <= settings_variables() | for_tests


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_commands_named_exist(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"manage\.py ([a-z_]+)", text)) - {"db", "create_"}
    assert named <= set(get_commands())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets


def test_frames_are_documented_with_their_fields() -> None:
    rows = {row[0].strip("`"): row[1] for row in table_rows(WEBSOCKET, "Client frames")}
    assert rows.keys() == FRAMES.keys()
    for kind, fields in FRAMES.items():
        for name in fields.keys() - {"id"}:
            assert f"`{name}`" in rows[kind], f"{kind}: {name}"


def test_close_codes_are_documented() -> None:
    tree = ast.parse(Path(consumers.__file__).read_text())
    codes = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value >= 4000
    }
    documented = {
        int(code) for row in table_rows(WEBSOCKET, "Close codes") for code in row[0].split(", ")
    }
    assert {code for code in documented if code >= 4000} == codes
    assert RESTARTING in documented


def test_events_of_our_own_are_documented() -> None:
    sources = tracked("chat/**/*.py", "chat/*.py")
    sent = set(re.findall(r'"(atrium\.[a-z.]+)"', "".join(path.read_text() for path in sources)))
    rows = table_rows(WEBSOCKET, "Server events")
    assert {row[0].strip("`") for row in rows} == sent


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_imports_of_examples_exist(page: Path) -> None:
    imports = re.findall(
        r"^from ((?:chat|tenants|config)[\w.]*) import ([\w, ]+)$", page.read_text(), re.MULTILINE
    )
    for module, names in imports:
        missing = [name for name in names.split(", ") if not hasattr(import_module(module), name)]
        assert missing == [], module
