"""Objects of the Assistants API rendered from rows, shared by websocket, chat page and API.

No function here runs a query: callers load the rows to render (`run.assistant`, calls, names).
Times are Unix seconds; every nullable key is present. `atrium` holds our extensions.
"""

from __future__ import annotations

from chat.wire.assistants import assistant_label, assistant_object
from chat.wire.base import WireObject, list_object, render_deleted
from chat.wire.files import (
    assistant_file_object,
    file_object,
    message_file_object,
    upload_object,
    upload_part_object,
)
from chat.wire.messages import (
    image_part,
    message_as_begun,
    message_delta,
    message_object,
    render_lost_message,
    text_continuation,
    text_part,
    thread_object,
)
from chat.wire.runs import run_as_begun, run_object
from chat.wire.steps import (
    add_contents,
    outputs_delta,
    render_lost_step,
    step_as_begun,
    step_delta,
    step_object,
)
from chat.wire.vector_stores import (
    FileSummary,
    file_batch_object,
    file_content_object,
    search_result_object,
    search_results_object,
    vector_store_file_object,
    vector_store_object,
)

__all__ = [
    "FileSummary",
    "WireObject",
    "add_contents",
    "assistant_file_object",
    "assistant_label",
    "assistant_object",
    "file_batch_object",
    "file_content_object",
    "file_object",
    "image_part",
    "list_object",
    "message_as_begun",
    "message_delta",
    "message_file_object",
    "message_object",
    "outputs_delta",
    "render_deleted",
    "render_lost_message",
    "render_lost_step",
    "run_as_begun",
    "run_object",
    "search_result_object",
    "search_results_object",
    "step_as_begun",
    "step_delta",
    "step_object",
    "text_continuation",
    "text_part",
    "thread_object",
    "upload_object",
    "upload_part_object",
    "vector_store_file_object",
    "vector_store_object",
]
