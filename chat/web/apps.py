"""App configuration of the chat page: templates, static files and URLs."""

from __future__ import annotations

from django.apps import AppConfig


class ChatPageConfig(AppConfig):
    """Separate app, so that Django finds its templates and static files."""

    name = "chat.web"
    label = "chat_web"

    def ready(self) -> None:
        """Register the provider of chat titles for the profile page."""
        from chat.web.history import titles_of
        from tenants.reading import provide_titles

        provide_titles(titles_of)
