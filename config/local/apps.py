"""The commands of `make up` as a Django app without models."""

from __future__ import annotations

from django.apps import AppConfig


class LocalConfig(AppConfig):
    """Embedded PostgreSQL, supervisor and the commands `up` and `db`."""

    name = "config.local"
    label = "local_runtime"
