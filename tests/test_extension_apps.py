"""Apps listed in ATRIUM_APPS add tools, admin pages and tables from outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.extension_apps import check_apps
from tests.test_architecture import ROOT

INSTALLED = ["tenants", "chat"]
FUTURE = "from __future__ import annotations"
TOOLS = f'''{FUTURE}

from chat.tools.base import Effect, ToolContext
from chat.tools.registry import tool


@tool(effect=Effect.READ, label="Look up the opening hours")
def get_opening_hours(ctx: ToolContext) -> str:
    """Look up when the shop is open."""
    return "Nine to five."
'''
ADMIN = f"""{FUTURE}

from django.http import HttpResponse

from tenants.admin import ExtraPage, is_admin, site

def show(request):
    return HttpResponse("hours")


site.add_page(ExtraPage(path="hours/", name="hours", view=show, allowed=is_admin))
"""
APPS = f"""{FUTURE}

from django.apps import AppConfig


class HoursConfig(AppConfig):
    name = "hours"
"""
REPORT = """
import json
from django.urls import reverse
from chat.tools.registry import TOOLS
print(json.dumps({"tool": "get_opening_hours" in TOOLS, "page": reverse("admin:hours")}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder outside the checkout that contains the app `hours`."""
    app = tmp_path / "hours"
    app.mkdir()
    files = {"__init__": "", "apps": APPS, "tools": TOOLS, "admin": ADMIN}
    for name, source in files.items():
        (app / f"{name}.py").write_text(source)
    return tmp_path


def run_shell(folder: Path, apps: str) -> subprocess.CompletedProcess[str]:
    """Run REPORT in a separate process with the apps in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATRIUM_")}
    address = "postgresql://nobody@127.0.0.1/none"
    variables = {"ATRIUM_APPS": apps, "PYTHONPATH": str(folder), "DATABASE_URL": address}
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", REPORT],
        cwd=ROOT,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["hours", "hours.apps.HoursConfig"])
def test_tools_and_admin_pages_are_found(folder: Path, name: str) -> None:
    done = run_shell(folder, name)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"tool": True, "page": "/admin/hours/"}


def test_an_app_that_is_missing_is_named_in_one_sentence(folder: Path) -> None:
    done = run_shell(folder, "hours,opening")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("ATRIUM_APPS names 'opening'")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("names", [["json", "json"], ["chat"], [""], ["../hours"], ["a b"]])
def test_names_that_cannot_work_are_refused(names: list[str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="ATRIUM_APPS"):
        check_apps(names, INSTALLED)


def test_blanks_around_names_are_ignored() -> None:
    assert check_apps([" json", "email "], INSTALLED) == ["json", "email"]
