"""The only reader of settings.CHAT."""

from __future__ import annotations

from typing import Any

from django.conf import settings


class Conf:
    """Limits and times of chat by lower-case name, e.g. `conf.max_rounds`; seconds and bytes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return settings.CHAT[name.upper()]
        except KeyError:
            raise AttributeError(name) from None

    def has_upstream(self, name: str) -> bool:
        """Tell whether the model server `name` is set up; rows may name one that was."""
        return (name or self.default_upstream) in self.upstreams

    def upstream(self, name: str) -> dict[str, Any]:
        """Return the settings of the model server `name`, the default one for "".

        Raises:
            KeyError: for one that is not set up, or no longer.
        """
        settings_of: dict[str, dict[str, Any]] = self.upstreams
        return settings_of[name or self.default_upstream]

    def is_demonstration(self, upstream: str) -> bool:
        """Tell whether the scripted provider answers there, which is no language model."""
        if not self.has_upstream(upstream):
            return False
        backend: str = self.upstream(upstream)["BACKEND"]
        return backend.endswith(".ScriptedUpstream")


conf = Conf()
