#!/usr/bin/env python
"""Atrium's command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run one management command; mistakes in the set-up end in one sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from config.local.environment import environment
    from config.local.postgres_programs import EmbeddedError

    signal.signal(signal.SIGTERM, _leave)
    try:
        with environment(sys.argv[1:]):
            settings.INSTALLED_APPS  # noqa: B018 - a setting that cannot work speaks up here
            execute_from_command_line(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(number: int, frame: FrameType | None) -> None:
    """End in order, so that whoever started the database also stops it."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
