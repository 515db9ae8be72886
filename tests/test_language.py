"""Language of the code: names, bounds, loop variables and prose."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, SOURCES, label, tracked

PRODUCT = [path for path in SOURCES if not label(path).startswith("tests/")]
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
# A smaller module should be part of its only user, except modules that Django finds by name.
MIN_MODULE_LINES = 30
SMALL_MODULES = {"__init__", "__main__", "apps", "urls", "conftest", "manage", "errors"}
# Verbs and nouns that end like participles.
NO_PARTICIPLES = {"need", "feed", "speed", "seed", "breed", "embed", "proceed", "exceed", "succeed"}
IRREGULAR_PARTICIPLES = {
    *("told", "held", "kept", "made", "given", "found", "bound", "written", "taken", "seen"),
    *("been", "done", "gone", "sent", "spent", "lost", "built", "stood", "understood", "begun"),
    *("chosen", "known", "shown", "drawn", "grown", "meant", "said"),
}
# QuerySet filters and overrides follow the naming of Django and other libraries.
NAMED_ELSEWHERE = {"QuerySet", "Manager"}
ROUNDABOUT = re.compile(
    r"\b(whoever|nobody|goes on|go on|gone on|stands?|told|anew|besides|elsewhere|as they say"
    r"|may be had|knows of|of its own|whatever|lets? go|looks? after|in line|takes? up|what is"
    r"|what was|it is where|of nobody)\b",
    re.IGNORECASE,
)
# Per 1,000 words.
MAX_ROUNDABOUT = 0.5


def is_participle(word: str) -> bool:
    """Return True if the word is a participle."""
    regular = word.endswith("ed") and len(word) > 3 and word not in NO_PARTICIPLES
    return regular or word in IRREGULAR_PARTICIPLES


def list_functions(
    tree: ast.Module,
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Yield each function, including nested ones, with the bases of its class."""
    for node in ast.walk(tree):
        bases = ""
        if isinstance(node, ast.ClassDef):
            bases = " ".join(ast.unparse(base) for base in node.bases)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child, bases


def test_no_function_is_named_by_a_participle() -> None:
    found = []
    for path in PRODUCT:
        for function, bases in list_functions(TREES[path]):
            decorators = " ".join(ast.unparse(decorator) for decorator in function.decorator_list)
            if "property" in decorators or any(base in bases for base in NAMED_ELSEWHERE):
                continue
            if is_participle(function.name.strip("_").split("_")[0]):
                found.append(f"{label(path)}:{function.lineno}: {function.name}")
    assert found == []


def test_classes_are_nouns() -> None:
    found = []
    for path in PRODUCT:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef):
                words = re.findall(r"[A-Z][a-z0-9]*", node.name)
                if len(words) == 1 and is_participle(words[0].lower()):
                    found.append(f"{label(path)}:{node.lineno}: {node.name}")
    assert found == []


def test_loop_variables_and_bounds_say_what_they_are() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(TREES[path]):
            is_loop = isinstance(node, ast.For | ast.comprehension)
            name = node.target if isinstance(node, ast.For | ast.comprehension) else node
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                is_bound = re.match(r"_?(MOST|LEAST|LONGEST)_", name.id)
                if is_bound or (is_loop and name.id == "one"):
                    found.append(f"{label(path)}:{name.lineno}: {name.id}")
    assert found == []


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in PRODUCT:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef) and node.name not in ("Meta", "Command"):
                places[node.name].add(label(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_is_too_small() -> None:
    lines = {label(path): len(path.read_text().splitlines()) for path in PRODUCT}
    small = {
        label(path)
        for path in PRODUCT
        if path.stem not in SMALL_MODULES and "commands" not in path.parts
        if lines[label(path)] < MIN_MODULE_LINES
    }
    assert small == set(), "Join each to its user."


def test_errors_that_docstrings_name_exist() -> None:
    known = {*dir(builtins)}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                known.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                known |= {(name.asname or name.name).split(".")[-1] for name in node.names}
    found = {}
    for path in SOURCES:
        for text in list_prose(path):
            raised = re.findall(r"^ {4}([A-Z]\w+):", text.partition("Raises:")[2], re.MULTILINE)
            if missing := {*raised} - known:
                found[label(path)] = missing
    assert found == {}


def list_prose(path: Path) -> Iterator[str]:
    """Yield docstrings and comments of a module, or the text of a page without its code."""
    text = path.read_text()
    if path.suffix == ".md":
        yield re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
        return
    yield from re.findall(r"#(.*)", text)
    for node in ast.walk(TREES[path]):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and (docstring := ast.get_docstring(node)):
            yield docstring


@pytest.mark.parametrize(
    "paths", [PRODUCT, tracked("README.md", "CONTRIBUTING.md", "docs/*.md")], ids=["code", "docs"]
)
def test_prose_is_plain(paths: list[Path]) -> None:
    found = {path: ROUNDABOUT.findall("\n".join(list_prose(path))) for path in paths}
    words = sum(len(text.split()) for path in paths for text in list_prose(path))
    count = sum(map(len, found.values()))
    worst = sorted(paths, key=lambda path: -len(found[path]))[:10]
    assert 1000 * count <= MAX_ROUNDABOUT * words, [
        f"{path.relative_to(ROOT)}: {found[path]}" for path in worst
    ]
