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
        config: dict[str, Any] = self.upstreams[name or self.default_upstream]
        return config


conf = Conf()
