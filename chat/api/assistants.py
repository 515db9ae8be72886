"""Views of /v1/assistants."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.assistants.files import list_assistant_file_ids
from chat.actions.assistants.manage import (
    EFFORTS,
    create_assistant,
    delete_assistant,
    update_assistant,
)
from chat.actions.fields import get_row
from chat.api.base import ApiView
from chat.api.fields import Choice, Input, Number, RawValue, Text
from chat.api.pagination import PageQuery
from chat.conf import conf
from chat.models import Assistant
from tenants.authentication import Principal


class AssistantUpdate(Input):
    """Changeable fields of an assistant."""

    model = Text(required=False, max_length=256)
    name = Text(required=False, allow_null=True, max_length=256)
    description = Text(required=False, allow_null=True, max_length=512)
    instructions = Text(required=False, allow_null=True, max_length=conf.instruction_characters)
    reasoning_effort = Choice(required=False, allow_null=True, choices=EFFORTS[1:])
    tools = RawValue(required=False)
    tool_resources = RawValue(required=False, allow_null=True)
    metadata = RawValue(required=False, allow_null=True)
    temperature = Number(required=False, allow_null=True, min_value=0, max_value=2)
    top_p = Number(required=False, allow_null=True, min_value=0, max_value=1)
    response_format = RawValue(required=False, allow_null=True)


class NewAssistant(AssistantUpdate):
    """Body of a new assistant."""

    model = Text(max_length=256)


def build_settings(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as arguments of the action; null becomes "" for text fields."""
    settings = dict(body)
    for name in ("name", "description", "instructions", "reasoning_effort"):
        if name in settings:
            settings[name] = settings[name] or ""
    if "tools" in settings:
        settings["tool_definitions"] = settings.pop("tools")
    return settings


def get_visible_assistant(principal: Principal, assistant_id: str) -> Assistant:
    """Return an assistant that the principal may use.

    Raises:
        InvalidInput: the ID has the wrong prefix.
        NotFound: no such assistant is visible to the principal.
    """
    rows = Assistant.objects.visible_to(principal)
    assistant: Assistant = get_row(rows, assistant_id, param="assistant_id", prefix="asst_")
    return assistant


class AssistantApiView(ApiView):
    """Base of views that return assistants, in the format of either version."""

    write_scope = "admin"

    def render_assistant(self, assistant: Assistant) -> dict[str, Any]:
        """Return the assistant object; call it in a transaction."""
        rendered = wire.assistant_object(assistant)
        if self.version == 1:
            rendered["file_ids"] = list_assistant_file_ids(assistant)
        return rendered

    def respond_with_assistant(self, assistant: Assistant) -> Response:
        """Return the response for one assistant, with its ETag."""
        with transaction.atomic():
            return self.add_etag(self.answer(self.render_assistant(assistant)), assistant.version)


class AssistantsView(AssistantApiView):
    """Assistants of the tenant."""

    def get(self, request: Request) -> Response:
        """List the assistants that the caller may use; admins see all."""
        query = self.query(PageQuery)
        with transaction.atomic():
            rows = Assistant.objects.visible_to(self.principal)
            return self.page(rows, self.render_assistant, query=query, prefix="asst_")

    def post(self, request: Request) -> Response:
        """Create an assistant; an admin decides later whether the chat page offers it."""
        settings = build_settings(self.input(NewAssistant))
        assistant = create_assistant(self.principal, in_page=False, **settings)
        return self.respond_with_assistant(assistant)


class AssistantView(AssistantApiView):
    """A single assistant."""

    def get(self, request: Request, assistant_id: str) -> Response:
        """Retrieve the assistant."""
        with transaction.atomic():
            assistant = get_visible_assistant(self.principal, assistant_id)
        return self.respond_with_assistant(assistant)

    def post(self, request: Request, assistant_id: str) -> Response:
        """Update the assistant; `If-Match` names the version that the client has seen."""
        settings = build_settings(self.input(AssistantUpdate))
        assistant = update_assistant(
            self.principal, assistant_id, version=self.get_expected_version(), **settings
        )
        return self.respond_with_assistant(assistant)

    def delete(self, request: Request, assistant_id: str) -> Response:
        """Delete the assistant; its threads are kept."""
        delete_assistant(self.principal, assistant_id)
        return self.answer(wire.render_deleted(assistant_id, "assistant"))
