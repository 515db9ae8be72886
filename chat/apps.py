"""App configuration of chat."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    """Configuration of the chat app: assistants, threads and runs."""

    name = "chat"
    verbose_name = _("Chat")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the `tools` module of every installed app, as the admin does with `admin`."""
        autodiscover_modules("tools")
