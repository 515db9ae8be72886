"""The model servers of this process, and one breaker for each tenant at each of them."""

from __future__ import annotations

from uuid import UUID

from chat.conf import conf
from chat.upstream import build
from chat.upstream.base import Upstream, UpstreamConfig
from chat.upstream.breaker import Breaker, Breakers

_built: dict[str, Upstream] = {}
_breakers = Breakers(threshold=conf.upstream_breaker_failures)


def upstream_named(name: str) -> Upstream:
    """Return the model server `name` ("" is the default one), made on first use.

    Raises:
        KeyError: for one that is not set up.
    """
    name = name or conf.default_upstream
    if name not in _built:
        config = conf.upstream(name)
        _built[name] = build(
            UpstreamConfig(name=name, kind=config["BACKEND"], options=config.get("OPTIONS", {}))
        )
    return _built[name]


def breaker_of(tenant_id: UUID, upstream: str) -> Breaker:
    """Return the breaker that keeps one tenant's failures from another's requests."""
    return _breakers.of((tenant_id, upstream))


def keeps_conversations(name: str) -> bool:
    """Tell whether threads are mapped to conversations that the server keeps."""
    return conf.has_upstream(name) and bool(conf.upstream(name).get("CONVERSATIONS"))


async def warm_up() -> None:
    """Make every configured server ready, so that the first request pays for nothing."""
    for name in conf.upstreams:
        await upstream_named(name).warm_up()


async def close_all() -> None:
    """Close the connections."""
    while _built:
        _name, upstream = _built.popitem()
        await upstream.aclose()
