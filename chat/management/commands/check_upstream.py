"""`manage.py check_upstream`: probe the configured model server."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from asgiref.sync import async_to_sync
from django.core.management.base import CommandParser
from django.db import transaction

from chat.conf import conf
from chat.errors import ChatError
from chat.models import Assistant
from chat.runs import upstreams
from chat.upstream.base import Capabilities
from chat.upstream.errors import UpstreamError
from tenants.authentication import get_console_principal
from tenants.json_output import JsonCommand
from tenants.scope import tenant_scope


class UpstreamProblem(ChatError):
    """The model server does not respond as expected."""

    code = "upstream_problem"


class Command(JsonCommand):
    """Command that probes the model server with a few tiny requests."""

    help = "Probe the configured model server and print what it supports."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--tenant",
            metavar="SLUG",
            help="probe the server and model of this company's default assistant",
        )

    def perform(self, **options: Any) -> tuple[dict[str, Any], str]:
        """Probe the server and report its capabilities.

        Raises:
            UpstreamProblem: The server is not configured, unreachable or misbehaves.
        """
        name, model = _select_upstream(options["tenant"])
        if not conf.has_upstream(name):
            raise UpstreamProblem(f"The model server {name} is no longer configured.")
        try:
            found = async_to_sync(_probe)(name, model)
        except UpstreamError as error:
            raise UpstreamProblem(error.message_for_operators) from None
        if found.problem:
            raise UpstreamProblem(found.problem)
        body = {"upstream": name, "model": model, **asdict(found)}
        return body, _format_capabilities(name, model, found)


def _select_upstream(slug: str | None) -> tuple[str, str]:
    """Return the names of the server and the model to probe."""
    if slug is not None:
        principal = get_console_principal(slug)
        with tenant_scope(principal.tenant_id), transaction.atomic():
            assistant = Assistant.objects.offered().first()
        if assistant is not None:
            return assistant.upstream or conf.default_upstream, assistant.model
    return conf.default_upstream, conf.upstream("")["MODEL"]


async def _probe(name: str, model: str) -> Capabilities:
    upstream = upstreams.get_upstream(name)
    try:
        return await upstream.probe(model=model)
    finally:
        await upstreams.close_all()


def _format_capabilities(name: str, model: str, found: Capabilities) -> str:
    supported = [
        f"  {what}: {'yes' if yes else 'no'}"
        for what, yes in (
            ("responses", found.responses),
            ("chat completions", found.chat_completions),
            ("tools", found.tools),
            ("conversations", found.conversations),
        )
    ]
    models = ", ".join(found.models[:20]) or "none listed"
    return "\n".join([f"{name} answers with {model}.", *supported, f"  models: {models}"])
