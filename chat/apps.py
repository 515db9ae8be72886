"""Start-up of the chat app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    """Assistants, threads and runs."""

    name = "chat"
    verbose_name = _("Chat")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Find the tools of every installed app, as the admin finds its pages."""
        autodiscover_modules("tools")
