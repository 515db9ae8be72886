#!/usr/bin/env python
"""Command line of Atrium."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run one management command; print configuration errors as one sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from config.local.environment import environment
    from config.local.postgres_programs import EmbeddedError

    signal.signal(signal.SIGTERM, _handle_sigterm)
    try:
        with environment(sys.argv[1:]):
            settings.INSTALLED_APPS  # noqa: B018 - reports invalid settings before the command runs
            execute_from_command_line(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _handle_sigterm(number: int, frame: FrameType | None) -> None:
    """Exit through `finally` blocks, so that a database started by this process stops."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
