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

    def upstream(self, name: str) -> dict[str, Any]:
        """Return the settings of the model server `name`, the default one for ""."""
        known: dict[str, dict[str, Any]] = self.upstreams
        # A server that was taken out of the settings leaves its assistants to the default one.
        return known.get(name or self.default_upstream) or known[self.default_upstream]

    def is_demonstration(self, upstream: str) -> bool:
        """Tell whether the scripted provider answers there, which is no language model."""
        backend: str = self.upstream(upstream)["BACKEND"]
        return backend.endswith(".ScriptedUpstream")


conf = Conf()
