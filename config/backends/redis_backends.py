"""Redis, as several processes share it; imported only where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from typing import Any
from weakref import WeakSet

import structlog
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = structlog.get_logger(__name__)

# One that hangs holds up nobody for longer; a refused connection is tried once more at once.
REDIS_SECONDS = 1.0
OWN_ENTRIES = 200_000
# After a failure Redis is left alone for so long.
AWAY_SECONDS = 2.0


def channel_layer(url: str, secret_key: str) -> dict[str, Any]:
    """Return the settings of the channel layer.

    Encrypted and signed: chats pass through, and nobody else may speak for a process.
    """
    host = {
        "address": url,
        "retry": AsyncRetry(NoBackoff(), 1),
        "socket_connect_timeout": REDIS_SECONDS,
    }
    return {
        "BACKEND": "config.backends.redis_backends.NoticingLayer",
        "CONFIG": {"hosts": [host], "symmetric_encryption_keys": [secret_key]},
    }


class NoticingLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """Calls `reconnected` when a connection to Redis that was lost is there again.

    The layer itself goes on as if nothing had happened; what was sent to it meanwhile is lost.
    """

    def __init__(self, *args: Any, hosts: list[dict[str, Any]], **kwargs: Any) -> None:
        noticed = [{**host, "redis_connect_func": self._handle_connect} for host in hosts]
        super().__init__(*args, hosts=noticed, **kwargs)
        self.reconnected: Callable[[], None] | None = None
        self._known: WeakSet[AbstractConnection] = WeakSet()

    async def _handle_connect(self, connection: AbstractConnection) -> None:
        # What redis-py does where no function is given.
        await connection.on_connect_check_health(check_health=True)
        if connection in self._known and self.reconnected is not None:
            self.reconnected()
        self._known.add(connection)


class PlainValues:
    """JSON instead of Django's pickle: whatever is found in Redis is read and never run."""

    def dumps(self, value: Any) -> int | str:
        """Return what Redis keeps; numbers as they are, so that it can add to them."""
        return value if type(value) is int else json.dumps(value)

    def loads(self, data: bytes) -> Any:
        """Return the value; raises ValueError for what nobody here has written."""
        return json.loads(data)


class SharedCache(BaseCache):
    """Redis, and while it is away this process's own memory: limits then count in each process."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = {
            "serializer": PlainValues,
            "retry": Retry(NoBackoff(), 1),
            "socket_timeout": REDIS_SECONDS,
            "socket_connect_timeout": REDIS_SECONDS,
        }
        self._shared = RedisCache(server, {**params, "OPTIONS": options})
        self._own = LocMemCache("shared", {**params, "OPTIONS": {"MAX_ENTRIES": OWN_ENTRIES}})
        self._away_until = 0.0

    def _do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if monotonic() >= self._away_until:
            try:
                return getattr(self._shared, name)(*args, **kwargs)
            except RedisError as error:
                self._away_until = monotonic() + AWAY_SECONDS
                log.warning("shared_cache_away", error=type(error).__qualname__)
        return getattr(self._own, name)(*args, **kwargs)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Set a key that is not there; return whether it was set."""
        return bool(self._do("add", key, value, timeout=timeout, version=version))

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return a key's value."""
        return self._do("get", key, default=default, version=version)

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Set a key."""
        self._do("set", key, value, timeout=timeout, version=version)

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Renew a key's time; return whether it is there."""
        return bool(self._do("touch", key, timeout=timeout, version=version))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Add to a number, in one step for all processes."""
        return int(self._do("incr", key, delta=delta, version=version))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete a key; return whether it was there."""
        return bool(self._do("delete", key, version=version))

    def clear(self) -> None:
        """Forget everything."""
        self._own.clear()
        self._do("clear")
