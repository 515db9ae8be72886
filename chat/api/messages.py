"""Views of /v1/threads/{thread_id}/messages."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.fields import clean_id, get_row
from chat.actions.messages.append import ROLES
from chat.actions.messages.manage import add_message, delete_message, update_message
from chat.api.base import ApiView
from chat.api.fields import Choice, Input, RawValue, Text
from chat.api.pagination import PageQuery, PaginatedQuery
from chat.api.threads import get_own_thread
from chat.models import Message
from tenants.authentication import Principal

ORDER_BY = ("position",)


class NewMessage(Input):
    """Body of a new message."""

    role = Choice(choices=ROLES)
    content = RawValue()
    attachments = RawValue(required=False, allow_null=True)
    metadata = RawValue(required=False, allow_null=True)


class MessageUpdate(Input):
    """Changeable fields of a message."""

    metadata = RawValue(required=False, allow_null=True)


class MessagesQuery(PageQuery):
    """Query parameters of the message list; `run_id` filters by run."""

    run_id = Text(required=False)


@PaginatedQuery
def thread_messages(*, thread_id: Any, run_id: Any = None) -> QuerySet[Message]:
    """Return the messages of a thread, or those that a run wrote in it."""
    rows: QuerySet[Message] = Message.objects.in_thread().filter(thread_id=thread_id)
    rows = rows.select_related("assistant")
    return rows if run_id is None else rows.filter(run_ref=run_id)


def get_own_message(principal: Principal, thread_id: str, message_id: str) -> Message:
    """Return a message of one of the principal's threads.

    Raises:
        InvalidInput: an ID has the wrong prefix.
        NotFound: the thread or message does not exist, or the thread is not the principal's.
    """
    thread = get_own_thread(principal, thread_id)
    rows = Message.objects.filter(thread=thread).select_related("assistant")
    message: Message = get_row(rows, message_id, param="message_id", prefix="msg_")
    return message


class MessagesView(ApiView):
    """Messages of a thread, in order."""

    def get(self, request: Request, thread_id: str) -> Response:
        """List the messages."""
        query = self.query(MessagesQuery)
        with transaction.atomic():
            thread = get_own_thread(self.principal, thread_id)
            of = {"thread_id": thread.pk}
            if query.get("run_id"):
                of["run_id"] = clean_id(query["run_id"], param="run_id", prefix="run_")
            return self.page(
                thread_messages.bind(**of),
                wire.message_object,
                query=query,
                prefix="msg_",
                by=ORDER_BY,
            )

    def post(self, request: Request, thread_id: str) -> Response:
        """Add a message."""
        message = add_message(self.principal, thread_id, **self.input(NewMessage))
        return self.answer(wire.message_object(message))


class MessageView(ApiView):
    """A single message."""

    def get(self, request: Request, thread_id: str, message_id: str) -> Response:
        """Retrieve the message."""
        with transaction.atomic():
            message = get_own_message(self.principal, thread_id, message_id)
            return self.answer(wire.message_object(message))

    def post(self, request: Request, thread_id: str, message_id: str) -> Response:
        """Update the message's metadata."""
        fields: dict[str, Any] = self.input(MessageUpdate)
        if not fields:
            return self.get(request, thread_id, message_id)
        message = update_message(self.principal, thread_id, message_id, **fields)
        return self.answer(wire.message_object(message))

    def delete(self, request: Request, thread_id: str, message_id: str) -> Response:
        """Delete the message."""
        delete_message(self.principal, thread_id, message_id)
        return self.answer(wire.render_deleted(message_id, "thread.message"))
