"""Views of the files of an assistant or a message, for clients of version 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.assistants.files import (
    add_assistant_file,
    list_assistant_files,
    remove_assistant_file,
)
from chat.actions.fields import get_row
from chat.api.assistants import get_visible_assistant
from chat.api.base import ApiView
from chat.api.fields import Input, RawValue
from chat.api.messages import get_own_message
from chat.api.pagination import PageQuery
from chat.models import File, Message


class NewAssistantFile(Input):
    """Body that adds a file to an assistant."""

    file_id = RawValue()


def get_file(rows: QuerySet[File], file_id: str) -> File:
    """Return the file with this ID among `rows`.

    Raises:
        InvalidInput: the ID has the wrong prefix.
        NotFound: no row has this ID.
    """
    return get_row(rows, file_id, param="file_id", prefix="file-")


class AssistantFilesView(ApiView):
    """Files of an assistant."""

    write_scope = "admin"

    def get(self, request: Request, assistant_id: str) -> Response:
        """List the files."""
        query = self.query(PageQuery)
        with transaction.atomic():
            rows = list_assistant_files(get_visible_assistant(self.principal, assistant_id))
            render = _build_renderer(wire.assistant_file_object, assistant_id)
            return self.page(rows, render, query=query, prefix="file-")

    def post(self, request: Request, assistant_id: str) -> Response:
        """Add a file to the assistant."""
        body = self.input(NewAssistantFile)
        file = add_assistant_file(self.principal, assistant_id, **body)
        return self.answer(wire.assistant_file_object(file, assistant_id))


class AssistantFileView(ApiView):
    """A single file of an assistant."""

    write_scope = "admin"

    def get(self, request: Request, assistant_id: str, file_id: str) -> Response:
        """Retrieve the file."""
        with transaction.atomic():
            assistant = get_visible_assistant(self.principal, assistant_id)
            file = get_file(list_assistant_files(assistant), file_id)
        return self.answer(wire.assistant_file_object(file, assistant_id))

    def delete(self, request: Request, assistant_id: str, file_id: str) -> Response:
        """Remove the file from the assistant; the file itself is kept."""
        remove_assistant_file(self.principal, assistant_id, file_id)
        return self.answer(wire.render_deleted(file_id, "assistant.file"))


class MessageFilesApiView(ApiView):
    """Base of the views of files attached to a message."""

    def get_files(self, message: Message) -> QuerySet[File]:
        """Return the attached files that still exist; call it in a transaction."""
        ids = [attachment["file_id"] for attachment in message.attachments]
        files: QuerySet[File] = File.objects.visible_to(self.principal).filter(pk__in=ids)
        return files


class MessageFilesView(MessageFilesApiView):
    """Files of a message."""

    def get(self, request: Request, thread_id: str, message_id: str) -> Response:
        """List the files."""
        query = self.query(PageQuery)
        with transaction.atomic():
            rows = self.get_files(get_own_message(self.principal, thread_id, message_id))
            render = _build_renderer(wire.message_file_object, message_id)
            return self.page(rows, render, query=query, prefix="file-")


class MessageFileView(MessageFilesApiView):
    """A single file of a message."""

    def get(self, request: Request, thread_id: str, message_id: str, file_id: str) -> Response:
        """Retrieve the file."""
        with transaction.atomic():
            message = get_own_message(self.principal, thread_id, message_id)
            file = get_file(self.get_files(message), file_id)
        return self.answer(wire.message_file_object(file, message_id))


def _build_renderer(
    render: Callable[[File, str], wire.WireObject], owner_id: str
) -> Callable[[File], dict[str, Any]]:
    return lambda file: render(file, owner_id)
