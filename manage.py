#!/usr/bin/env python
"""Atrium's command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one management command; mistakes in the set-up end in one sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from tenants.local import EmbeddedError, environment

    try:
        with environment(sys.argv[1:]):
            settings.INSTALLED_APPS  # noqa: B018 - a setting that cannot work speaks up here
            execute_from_command_line(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
