"""Structure of the code: layers, sizes, types, caught errors, and files in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("config", "tenants", "chat", "tests")
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
REQUIREMENTS = (
    *("requirements.txt", "requirements-dev.txt"),
    *("requirements-documents.txt", "requirements-sandbox.txt"),
)
TOP_LEVEL = {
    *("manage.py", "pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md"),
    *("config", "chat", "tenants", "tests", "docs", *REQUIREMENTS),
    *("CONTRIBUTING.md", "SECURITY.md", "Dockerfile", "compose.yaml"),
    *(".dockerignore", ".gitignore", ".pre-commit-config.yaml", ".ci", ".github"),
}
# Modules that must survive any error of a run, a job, a tool or code written by a model.
MAY_CATCH_EVERYTHING = re.compile(
    r"chat/runs/engine/worker\.py|chat/tools/dispatch\.py|chat/sandbox/inside/errors\.py"
)
# Module names that do not describe the contents.
FORBIDDEN_NAMES = re.compile(r"(?:^|_)(?:helpers?|utils?|common|misc)$")


def tracked(*patterns: str) -> list[Path]:
    """Return the tracked files of the working tree that match the patterns."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


SOURCES = [path for path in tracked("*.py") if "migrations" not in path.parts]


def label(path: Path) -> str:
    """Return the path as shown in test ids and messages."""
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a file, including nested ones."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_sizes(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{label(path)} has {lines} lines"
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= MAX_FUNCTION_LINES, f"{label(path)}: {function.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_every_signature_is_typed(path: Path) -> None:
    for function in functions(path):
        if label(path).startswith("tests/") and _is_untyped_on_purpose(path, function):
            continue
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        starred = [item for item in (arguments.vararg, arguments.kwarg) if item is not None]
        untyped = [
            item.arg
            for item in (*named, *starred)
            if item.annotation is None and item.arg not in ("self", "cls")
        ]
        assert not untyped, f"{label(path)}: {function.name}({', '.join(untyped)})"
        assert function.returns is not None, f"{label(path)}: {function.name} returns what?"


def _is_untyped_on_purpose(path: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    line = path.read_text().splitlines()[function.lineno - 1]
    return "# type: ignore[no-untyped-def]" in line


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_nothing_catches_everything(path: Path) -> None:
    if MAY_CATCH_EVERYTHING.fullmatch(label(path)):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler) or _raises_again(node):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        assert not re.search(r"\b(everything|Exception|BaseException)\b", caught), (
            f"{label(path)}:{node.lineno} catches {caught}"
        )


def _raises_again(node: ast.ExceptHandler) -> bool:
    last = node.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_files_are_named_after_a_thing(path: Path) -> None:
    assert not FORBIDDEN_NAMES.search(path.stem), label(path)


def test_no_python_outside_the_packages() -> None:
    outside = {
        label(path) for path in tracked("*.py") if path.relative_to(ROOT).parts[0] not in PACKAGES
    }
    assert outside == {"manage.py"}


def test_top_level_holds_nothing_else() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_import_contracts() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [program, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_import_contracts_ignore_nothing() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert not [c["name"] for c in settings["contracts"] if "ignore_imports" in c]


def test_the_contracts_notice_a_forbidden_import(tmp_path: Path) -> None:
    for package in ("config", "tenants", "chat"):
        copy = ["cp", "-r", str(ROOT / package), str(tmp_path)]
        subprocess.run(copy, check=True)
    settings = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(settings)
    with (tmp_path / "tenants" / "scope.py").open("a") as file:
        file.write("\nimport chat.models\n")
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "tenants.scope -> chat.models" in result.stdout


class TestRequirements:
    @pytest.fixture(params=[*REQUIREMENTS, "tests/upstream/local-requirements.txt"])
    def text(self, request: pytest.FixtureRequest) -> str:
        """Text of a requirements file."""
        return (ROOT / str(request.param)).read_text()

    def test_every_package_is_pinned_and_hashed(self, text: str) -> None:
        entries = re.split(r"\n(?=\S)", text.strip())
        bad = [entry.split("\n")[0] for entry in entries if not _PINNED.match(entry)]
        assert entries
        assert not bad

    def test_no_address(self, text: str) -> None:
        assert not re.search(r"://|--index|--extra-index|--find-links|--trusted-host", text)

    def test_every_dependency_is_pinned(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        wanted = {_package(entry) for entry in project["project"]["dependencies"]}
        assert wanted <= _pins("requirements.txt").keys()

    def test_development_adds_to_the_same_versions(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        development = _pins("requirements-dev.txt")
        assert _pins("requirements.txt").items() <= development.items()
        assert {
            _package(entry) for entry in project["dependency-groups"]["dev"]
        } <= development.keys()


_PINNED = re.compile(
    r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+( ; [^\n]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\\n)?)+$"
)


def _package(entry: str) -> str:
    return re.split(r"[\[<>=!; ]", entry, maxsplit=1)[0].lower()


def _pins(name: str) -> dict[str, str]:
    """Return the versions by package name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return {package.lower(): version for package, version in found}


def test_extra_documents_is_the_one_that_tests_use() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pins = _pins("requirements-documents.txt")
    assert pins.keys() == {_package(entry) for entry in extra["documents"]}
    assert pins.items() <= _pins("requirements-dev.txt").items()


def test_no_lock_file_with_addresses() -> None:
    names = {path.name for path in tracked()}
    assert "uv.lock" not in names
    # Lock files for Node contain the checksums of packages, but not their URLs.
    locks = [path.read_text() for path in tracked() if path.name == "package-lock.json"]
    assert not [text for text in locks if '"resolved"' in text or "integrity" not in text]


def test_no_address_of_a_package_registry() -> None:
    address = re.compile(r"https?://[^/\s\"'`]*(?:registry|pypi|npm|mirror)", re.IGNORECASE)
    texts = tracked("*.py", "*.toml", "*.txt", "*.md", "*.json", "*.js", "Makefile", ".ci/*")
    assert not [label(path) for path in texts if address.search(path.read_text())]
