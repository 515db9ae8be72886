"""The settings of a server under crash tests: those of the product, and the tools of the suite."""

from __future__ import annotations

import os
import time
from datetime import timedelta

from django.utils import timezone

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "tests.crash.equipment"]

# A host whose clock is wrong by so many seconds.
if wrong := float(os.environ.get("CRASH_CLOCK_SECONDS", "0")):
    _now, _time = timezone.now, time.time
    timezone.now = lambda: _now() + timedelta(seconds=wrong)
    time.time = lambda: _time() + wrong
