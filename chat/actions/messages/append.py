"""Validate messages, append them to a locked thread and copy them between threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chat import ids
from chat.actions.assistants.tool_resources import check_image_files, clean_attachments
from chat.actions.fields import (
    clean_choice,
    clean_list,
    clean_metadata,
    clean_object,
    get_row,
)
from chat.actions.messages.attachments import add_attachments
from chat.actions.messages.content import clean_content
from chat.conf import conf
from chat.errors import MissingParameter, ThreadFull
from chat.models import Message, MessageStatus, Thread
from chat.runs.state.thread_end import append_to_thread
from tenants.authentication import Principal

ROLES = ("user", "assistant")
FIELDS = ("role", "content", "attachments", "metadata")
MAX_MESSAGES, COPY_BATCH_SIZE = 512, 500


def clean_messages(value: Any, *, param: str) -> list[dict[str, Any]]:
    """Validate a list of messages for `append_messages`; None means an empty list.

    Raises:
        InvalidInput: a value is invalid; `param` names it, e.g. "messages[0].content".
        NotFound: the ID of an image or attachment cannot exist.
    """
    given = [] if value is None else clean_list(value, param=param, limit=MAX_MESSAGES)
    return [clean_message(item, param=f"{param}[{index}].") for index, item in enumerate(given)]


def clean_message(value: Any, *, param: str = "") -> dict[str, Any]:
    """Validate one message; `param` is the prefix of its field names in errors.

    Raises:
        InvalidInput: a value is invalid; `param` names it.
        NotFound: the ID of an image or attachment cannot exist.
    """
    given = clean_object(value, param=param.rstrip(".") or "message", allowed=FIELDS)
    for name in ("role", "content"):
        if given.get(name) is None:
            raise MissingParameter(param=f"{param}{name}")
    return {
        "role": clean_choice(given["role"], param=f"{param}role", choices=ROLES),
        "content": clean_content(given["content"], param=f"{param}content"),
        "attachments": clean_attachments(given.get("attachments"), param=f"{param}attachments"),
        "metadata": clean_metadata(given.get("metadata"), param=f"{param}metadata"),
    }


def lock_thread(principal: Principal, thread_id: str) -> Thread:
    """Return the principal's own thread, locked until the end of the caller's transaction.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the thread does not exist.
    """
    rows = Thread.objects.visible_to(principal).locked()
    thread: Thread = get_row(rows, thread_id, param="thread_id", prefix="thread_")
    return thread


def append_messages(
    principal: Principal,
    thread: Thread,
    cleaned: Sequence[dict[str, Any]],
    *,
    param: str = "",
) -> list[Message]:
    """Append messages to a thread that the caller's transaction has locked.

    `param` names the list in errors.

    Raises:
        ThreadFull: the thread would exceed its message limit.
        NotFound: a file does not exist or does not belong to the principal.
        InvalidInput: an image file is not an image, or there are too many files.
    """
    if thread.last_position + len(cleaned) > conf.messages_per_thread:
        raise ThreadFull()
    attach_message_files(principal, thread, cleaned, param=param)
    return append_to_thread(
        thread,
        cleaned,
        sender=principal.membership_id,
        sender_key=principal.key_id,
    )


def attach_message_files(
    principal: Principal, thread: Thread, cleaned: Sequence[dict[str, Any]], *, param: str
) -> None:
    """Attach the files of messages to their locked thread's tools.

    Raises NotFound and InvalidInput like `append_messages`.
    """
    for index, message in enumerate(cleaned):
        place = f"{param}[{index}]." if param else ""
        check_image_files(principal, message["content"], param=f"{place}content")
        add_attachments(principal, thread, message["attachments"], param=f"{place}attachments")


def copy_messages(source: Thread, copy: Thread) -> int:
    """Copy a thread's finished messages into an empty thread and return their number.

    The reference to the run is dropped, because runs are not copied. Messages of
    failed steps are skipped: the step was retried.
    """
    rows = Message.objects.in_thread().filter(thread=source).order_by("position")
    rows = rows.exclude(status=MessageStatus.IN_PROGRESS).exclude(incomplete_reason="run_failed")
    last = copied = 0
    while chunk := list(rows.filter(position__gt=last)[:COPY_BATCH_SIZE]):
        last = chunk[-1].position
        for message in chunk:
            copied += 1
            message.pk, message.thread, message.position = ids.message_id(), copy, copied
            message.run_ref, message.client_id = "", None
        Message.objects.bulk_create(chunk)
    return copied
