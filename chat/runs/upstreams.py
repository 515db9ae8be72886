"""Model servers of this process, with one circuit breaker per tenant and server."""

from __future__ import annotations

from uuid import UUID

from chat.conf import conf
from chat.upstream import build
from chat.upstream.base import Upstream, UpstreamConfig
from chat.upstream.breaker import Breaker, Breakers

_upstreams: dict[str, Upstream] = {}
_breakers = Breakers(threshold=conf.upstream_breaker_failures)


def get_upstream(name: str) -> Upstream:
    """Return the model server `name` ("" is the default), created on first use.

    Raises:
        KeyError: no model server of this name is configured.
    """
    name = name or conf.default_upstream
    if name not in _upstreams:
        config = conf.upstream(name)
        _upstreams[name] = build(
            UpstreamConfig(name=name, kind=config["BACKEND"], options=config.get("OPTIONS", {}))
        )
    return _upstreams[name]


def get_breaker(tenant_id: UUID, upstream: str) -> Breaker:
    """Return the breaker of a tenant, so that its failures do not block other tenants."""
    return _breakers.of((tenant_id, upstream))


def has_server_conversations(name: str) -> bool:
    """Return whether threads are mapped to conversations stored by the server."""
    return conf.has_upstream(name) and bool(conf.upstream(name).get("CONVERSATIONS"))


async def warm_up() -> None:
    """Prepare every configured server, so that the first request is not slower."""
    for name in conf.upstreams:
        await get_upstream(name).warm_up()


async def close_all() -> None:
    """Close the connections to all model servers."""
    while _upstreams:
        _name, upstream = _upstreams.popitem()
        await upstream.aclose()
