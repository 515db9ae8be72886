"""A test run lists its skipped tests and the reasons in its last line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from tests.skip_summary import print_skip_summary

def pytest_unconfigure(config):
    print_skip_summary(config)
"""
ROOT = Path(__file__).resolve().parent.parent


def last_line(folder: Path, source: str, *options: str) -> str:
    """Run the tests of `source` and return the last printed line."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:django"]
    done = subprocess.run(
        [*command, f"--rootdir={folder}", *options, str(folder)],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip().splitlines()[-1]


SKIPPING = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_browser(number):
    pytest.skip("Chromium is missing.")

@pytest.mark.skipif(True, reason="only root")
def test_root():
    pass

def test_runs():
    pass
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_reasons_are_counted(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert last_line(tmp_path, SKIPPING, *options) == (
        "NOT TESTED: 4 skipped: 3 x Chromium is missing.; 1 x only root"
    )


def test_a_complete_run_ends_with_its_count(tmp_path: Path) -> None:
    assert "1 passed" in last_line(tmp_path, "def test_runs():\n    pass\n")
