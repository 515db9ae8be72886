"""The chat page: templates, static files, page addresses."""

from __future__ import annotations

from django.apps import AppConfig


class ChatPageConfig(AppConfig):
    """An app of its own so that its templates and static files are found."""

    name = "chat.web"
    label = "chat_web"

    def ready(self) -> None:
        """Tell the profile page the titles of chats."""
        from chat.web.history import titles_of
        from tenants.reading import provide_titles

        provide_titles(titles_of)
