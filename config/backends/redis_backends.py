"""Redis cache and channel layer shared by several processes; imported only if Redis is used."""

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

# A hanging Redis blocks a request no longer than this; a refused connection is retried once,
# immediately.
REDIS_TIMEOUT_SECONDS = 1.0
MAX_LOCAL_ENTRIES = 200_000
# Redis is not contacted for this long after a failure.
OUTAGE_PAUSE_SECONDS = 2.0


def build_channel_layer(url: str, secret_key: str) -> dict[str, Any]:
    """Return the settings of the channel layer.

    Messages are encrypted and signed: they contain chats, and only our processes may send them.
    """
    host = {
        "address": url,
        "retry": AsyncRetry(NoBackoff(), 1),
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
    }
    return {
        "BACKEND": "config.backends.redis_backends.ReconnectingChannelLayer",
        "CONFIG": {"hosts": [host], "symmetric_encryption_keys": [secret_key]},
    }


class ReconnectingChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """Channel layer that calls `reconnected` when a lost connection to Redis is restored.

    The base class continues silently; messages sent to it during the outage are lost.
    """

    def __init__(self, *args: Any, hosts: list[dict[str, Any]], **kwargs: Any) -> None:
        hosts_with_callback = [
            {**host, "redis_connect_func": self._handle_connect} for host in hosts
        ]
        super().__init__(*args, hosts=hosts_with_callback, **kwargs)
        self.reconnected: Callable[[], None] | None = None
        self._known: WeakSet[AbstractConnection] = WeakSet()

    async def _handle_connect(self, connection: AbstractConnection) -> None:
        # The default of redis-py if no function is given.
        await connection.on_connect_check_health(check_health=True)
        if connection in self._known and self.reconnected is not None:
            self.reconnected()
        self._known.add(connection)


class JsonSerializer:
    """JSON serialiser instead of Django's pickle: data found in Redis is never executed."""

    def dumps(self, value: Any) -> int | str:
        """Return the stored form; integers stay as they are, so that Redis can increment them."""
        return value if type(value) is int else json.dumps(value)

    def loads(self, data: bytes) -> Any:
        """Return the value. Raises ValueError for data that was not written by `dumps`."""
        return json.loads(data)


class SharedCache(BaseCache):
    """Redis cache that falls back to process memory during an outage.

    Rate limits then count in each process separately.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = {
            "serializer": JsonSerializer,
            "retry": Retry(NoBackoff(), 1),
            "socket_timeout": REDIS_TIMEOUT_SECONDS,
            "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
        }
        self._shared = RedisCache(server, {**params, "OPTIONS": options})
        self._own = LocMemCache("shared", {**params, "OPTIONS": {"MAX_ENTRIES": MAX_LOCAL_ENTRIES}})
        self._away_until = 0.0

    def _do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if monotonic() >= self._away_until:
            try:
                return getattr(self._shared, name)(*args, **kwargs)
            except RedisError as error:
                self._away_until = monotonic() + OUTAGE_PAUSE_SECONDS
                log.warning("shared_cache_lost", error=type(error).__qualname__)
        return getattr(self._own, name)(*args, **kwargs)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Set a key if it is missing; return True if it was set."""
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
        """Renew a key's expiry; return True if the key exists."""
        return bool(self._do("touch", key, timeout=timeout, version=version))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Increment a number atomically across processes."""
        return int(self._do("incr", key, delta=delta, version=version))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete a key; return True if it existed."""
        return bool(self._do("delete", key, version=version))

    def clear(self) -> None:
        """Delete all keys."""
        self._own.clear()
        self._do("clear")
