"""Demonstration app: two companies in the same trade."""

from __future__ import annotations

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """Ordinary host app with models, tools and a command; no other module imports it."""

    name = "chat.demo"
    label = "demo"
    default_auto_field = "django.db.models.BigAutoField"
