"""The demonstration: two companies in the same trade."""

from __future__ import annotations

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """An ordinary host app: models, tools, a command. Nothing imports it."""

    name = "chat.demo"
    label = "demo"
    default_auto_field = "django.db.models.BigAutoField"
