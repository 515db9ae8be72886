"""Address and timeouts of a model server; imports the client library off the event loop."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from importlib import import_module
from urllib.parse import urlsplit

OPENAI = "https://api.openai.com/v1"
SDK = "chat.upstream.sdk"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Key of a connection pool; equal endpoints share a pool per event loop."""

    base_url: str = OPENAI
    api_key: str = ""
    organization: str | None = None
    project: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    max_connections: int = 500
    keepalive: float = 20.0

    @property
    def is_openai(self) -> bool:
        """True for OpenAI's own servers."""
        host = urlsplit(self.base_url).hostname or ""
        return host == "api.openai.com" or host.endswith(".api.openai.com")


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Timeouts in seconds; `idle` is the longest pause between two reads of an answer."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 45.0


async def load_sdk() -> None:
    """Import `chat.upstream.sdk` in a thread, without blocking the event loop."""
    module = sys.modules.get(SDK)
    if module is None or getattr(module.__spec__, "_initializing", False):
        await asyncio.to_thread(import_module, SDK)
