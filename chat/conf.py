"""Access to settings.CHAT; the only module that reads it."""

from __future__ import annotations

from typing import Any

from django.conf import settings


class Conf:
    """Chat settings by lower-case name, e.g. `conf.max_rounds`; in seconds and bytes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return settings.CHAT[name.upper()]
        except KeyError:
            raise AttributeError(name) from None

    def has_upstream(self, name: str) -> bool:
        """Return True if the model server `name` is configured; rows may name a removed one."""
        return (name or self.default_upstream) in self.upstreams

    def upstream(self, name: str) -> dict[str, Any]:
        """Return the settings of the model server `name`; "" is the default server.

        Raises:
            KeyError: the server is not configured, or no longer.
        """
        settings_of: dict[str, dict[str, Any]] = self.upstreams
        return settings_of[name or self.default_upstream]

    def is_demonstration(self, upstream: str) -> bool:
        """Return True if the server is the scripted demo provider instead of a language model."""
        if not self.has_upstream(upstream):
            return False
        backend: str = self.upstream(upstream)["BACKEND"]
        return backend.endswith(".ScriptedUpstream")


conf = Conf()
