"""The chat page: templates, static files, page addresses."""

from __future__ import annotations

from django.apps import AppConfig


class ChatPageConfig(AppConfig):
    """An app of its own so that its templates and static files are found."""

    name = "chat.web"
    label = "chat_web"
