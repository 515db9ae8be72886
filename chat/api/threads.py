"""Views of /v1/threads."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.fields import build_not_found, clean_id
from chat.actions.messages.append import COPY_BATCH_SIZE
from chat.actions.threads import copy_thread, create_thread, delete_thread, update_thread
from chat.api.base import ApiView
from chat.api.fields import Input, RawValue, Text
from chat.api.pagination import PageQuery, PaginatedQuery, Rows
from chat.models import Thread
from chat.models.threads import ThreadQuerySet, find_own_thread
from tenants.authentication import Principal

MAX_SEARCH_CHARACTERS = 200


class ThreadUpdate(Input):
    """Changeable fields of a thread."""

    metadata = RawValue(required=False, allow_null=True)
    tool_resources = RawValue(required=False, allow_null=True)


class NewThread(ThreadUpdate):
    """Body of a new thread."""

    messages = RawValue(required=False, allow_null=True)


class ThreadsQuery(PageQuery):
    """Query parameters of the thread list (extension), which is ordered by last activity."""

    query = Text(required=False, max_length=MAX_SEARCH_CHARACTERS)


def get_own_thread(principal: Principal, thread_id: str) -> Thread:
    """Return one of the principal's threads; call it in a transaction.

    Raises:
        InvalidInput: the ID has the wrong prefix.
        NotFound: the thread does not exist, or is not the principal's.
    """
    thread_id = clean_id(thread_id, param="thread_id", prefix="thread_")
    thread = find_own_thread.first(principal=principal, thread_id=thread_id)
    if thread is None:
        raise build_not_found("thread_", thread_id, param="thread_id")
    return thread


@PaginatedQuery
def own_threads(*, principal: Any) -> ThreadQuerySet:
    """Return the principal's threads."""
    rows: ThreadQuerySet = Thread.objects.visible_to(principal)
    return rows


class ThreadsView(ApiView):
    """Threads of the caller."""

    def get(self, request: Request) -> Response:
        """List or search the threads, by last activity (extension)."""
        query = self.query(ThreadsQuery)
        with transaction.atomic():
            rows: Rows = own_threads.bind(principal=self.principal)
            if query.get("query"):
                own = Thread.objects.visible_to(self.principal)
                rows = own.mentioning(query["query"])
            return self.page(
                rows, wire.thread_object, query=query, prefix="thread_", by=("updated_at", "id")
            )

    def post(self, request: Request) -> Response:
        """Create a thread."""
        thread = create_thread(self.principal, **self.input(NewThread))
        return self.answer(wire.thread_object(thread))


class ThreadView(ApiView):
    """A single thread."""

    def get(self, request: Request, thread_id: str) -> Response:
        """Retrieve the thread."""
        with transaction.atomic():
            return self.answer(wire.thread_object(get_own_thread(self.principal, thread_id)))

    def post(self, request: Request, thread_id: str) -> Response:
        """Update the thread."""
        thread = update_thread(self.principal, thread_id, **self.input(ThreadUpdate))
        return self.answer(wire.thread_object(thread))

    def delete(self, request: Request, thread_id: str) -> Response:
        """Delete the thread: hidden at once, erased when the chat page's undo period ends."""
        delete_thread(self.principal, thread_id)
        return self.answer(wire.render_deleted(thread_id, "thread"))


class ThreadCopyView(ApiView):
    """Copy of a thread, to continue in another direction (extension)."""

    def post(self, request: Request, thread_id: str) -> Response:
        """Copy the thread with its messages; a long one counts as several requests."""
        self.input(Input)
        thread_id = clean_id(thread_id, param="thread_id", prefix="thread_")
        with transaction.atomic():
            rows = Thread.objects.visible_to(self.principal).filter(pk=thread_id)
            length = rows.values_list("last_position", flat=True).first() or 0
        if length > COPY_BATCH_SIZE:
            self.check_rate(times=length // COPY_BATCH_SIZE)
        return self.answer(wire.thread_object(copy_thread(self.principal, thread_id)))
