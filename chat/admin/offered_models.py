"""Choices of model servers and models, and the connection test."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.utils.translation import gettext as _

from chat.conf import conf
from chat.models import Assistant
from chat.upstream import build
from chat.upstream.base import Capabilities, UpstreamConfig
from chat.upstream.errors import UpstreamError
from tenants.db import release_connection

REMEMBER_SECONDS = 24 * 3600
MAX_OFFERED = 200


def list_server_choices(chosen: str = "") -> list[tuple[str, str]]:
    """Return the model servers as form choices; "" is the installation's default.

    `chosen` is included even if it is no longer configured.
    """
    own = get_server_label(conf.default_upstream)
    choices = [("", _("Default: {server}").format(server=own))]
    names = list(conf.upstreams) if conf.has_upstream(chosen) else [chosen, *conf.upstreams]
    return [*choices, *((name, get_server_label(name)) for name in names)]


def get_server_label(name: str) -> str:
    """Return the display name of a server."""
    if not conf.has_upstream(name):
        return _("{name} (no longer configured)").format(name=name)
    if conf.is_demonstration(name):
        return _("{name} (demonstration, not a language model)").format(name=name)
    return name


def list_known_models() -> list[str]:
    """Return the known models: configured, in use here, or found by a connection test."""
    known = {config["MODEL"] for config in conf.upstreams.values()}
    known |= set(Assistant.objects.values_list("model", flat=True)[:MAX_OFFERED])
    for name in conf.upstreams:
        known |= set(cache.get(_get_cache_key(name)) or ())
    return sorted(known - {""})[:MAX_OFFERED]


def test_connection(server: str, model: str) -> tuple[bool, str]:
    """Probe a model server; return whether it works and a sentence about it.

    Sends a few tiny requests and takes as long as the server does: do not call it in a
    transaction.
    """
    name = server or conf.default_upstream
    if not conf.has_upstream(name):
        return False, _("{server} is no longer configured. Choose another model server.").format(
            server=name
        )
    # The probe may take a minute: return the database connection to the pool first.
    release_connection()
    try:
        found = async_to_sync(_probe)(name, model)
    except UpstreamError as error:
        return False, _("{server} did not respond: {code}.").format(server=name, code=error.code)
    cache.set(_get_cache_key(name), found.models[:MAX_OFFERED], REMEMBER_SECONDS)
    if found.problem:
        return False, _("{server} responded with a problem: {problem}").format(
            server=name, problem=found.problem
        )
    return True, _describe_capabilities(name, model, found)


test_connection.__test__ = False  # type: ignore[attr-defined]


async def _probe(name: str, model: str) -> Capabilities:
    config = conf.upstream(name)
    upstream = build(
        UpstreamConfig(name=name, kind=config["BACKEND"], options=config.get("OPTIONS", {}))
    )
    try:
        return await upstream.probe(model=model)
    finally:
        await upstream.aclose()


def _describe_capabilities(name: str, model: str, found: Capabilities) -> str:
    if found.models and model not in found.models:
        return _("{server} responded, but does not list the model {model}.").format(
            server=name, model=model
        )
    tools = _("Tools are supported.") if found.tools else _("Tools are not supported.")
    return _("{server} answers with {model}.").format(server=name, model=model) + " " + tools


def _get_cache_key(name: str) -> str:
    # Not per tenant: a server of the installation offers every tenant the same models.
    return f"models-offered:{name}"
