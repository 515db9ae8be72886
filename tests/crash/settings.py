"""The settings of a server under crash tests: those of the product, and the tools of the suite."""

from __future__ import annotations

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "tests.crash.equipment"]
