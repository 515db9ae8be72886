"""App config of the local runtime behind `make up`; it has no models."""

from __future__ import annotations

from django.apps import AppConfig


class LocalConfig(AppConfig):
    """App of the embedded PostgreSQL, the supervisor and the commands `up` and `db`."""

    name = "config.local"
    label = "local_runtime"
