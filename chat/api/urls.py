"""URLs below /v1, without a trailing slash as in the Assistants API."""

from __future__ import annotations

from django.urls import path

from chat.api.assistants import AssistantsView, AssistantView
from chat.api.files import FileContentView, FilesView, FileView
from chat.api.messages import MessagesView, MessageView
from chat.api.models import ModelsView, ModelView
from chat.api.openapi.view import serve_openapi
from chat.api.runs import (
    CancelRunView,
    EventsView,
    RunsView,
    RunView,
    SubmitToolOutputsView,
    ThreadAndRunView,
)
from chat.api.steps import StepsView, StepView
from chat.api.threads import ThreadCopyView, ThreadsView, ThreadView
from chat.api.uploads import CancelUploadView, CompleteUploadView, PartsView, UploadsView
from chat.api.v1_compat_files import (
    AssistantFilesView,
    AssistantFileView,
    MessageFilesView,
    MessageFileView,
)
from chat.api.vector_stores import (
    BatchesView,
    BatchFilesView,
    BatchView,
    CancelBatchView,
    SearchView,
    StoreFileContentView,
    StoreFilesView,
    StoreFileView,
    VectorStoresView,
    VectorStoreView,
)

ASSISTANT = "assistants/<str:assistant_id>"
THREAD = "threads/<str:thread_id>"
MESSAGES = f"{THREAD}/messages"
MESSAGE = f"{MESSAGES}/<str:message_id>"
RUNS = f"{THREAD}/runs"
RUN = f"{RUNS}/<str:run_id>"
STORE = "vector_stores/<str:vector_store_id>"
BATCH = f"{STORE}/file_batches/<str:batch_id>"
UPLOAD = "uploads/<str:upload_id>"

urlpatterns = [
    path("openapi.json", serve_openapi),
    path("models", ModelsView.as_view()),
    path("models/<path:model>", ModelView.as_view()),
    path("files", FilesView.as_view()),
    path("files/<str:file_id>", FileView.as_view()),
    path("files/<str:file_id>/content", FileContentView.as_view()),
    path("uploads", UploadsView.as_view()),
    path(f"{UPLOAD}/parts", PartsView.as_view()),
    path(f"{UPLOAD}/complete", CompleteUploadView.as_view()),
    path(f"{UPLOAD}/cancel", CancelUploadView.as_view()),
    path("assistants", AssistantsView.as_view()),
    path(ASSISTANT, AssistantView.as_view()),
    path(f"{ASSISTANT}/files", AssistantFilesView.as_view()),
    path(f"{ASSISTANT}/files/<str:file_id>", AssistantFileView.as_view()),
    path("threads", ThreadsView.as_view()),
    path("threads/runs", ThreadAndRunView.as_view()),
    path(THREAD, ThreadView.as_view()),
    path(f"{THREAD}/copy", ThreadCopyView.as_view()),
    path(MESSAGES, MessagesView.as_view()),
    path(MESSAGE, MessageView.as_view()),
    path(f"{MESSAGE}/files", MessageFilesView.as_view()),
    path(f"{MESSAGE}/files/<str:file_id>", MessageFileView.as_view()),
    path(RUNS, RunsView.as_view()),
    path(RUN, RunView.as_view()),
    path(f"{RUN}/cancel", CancelRunView.as_view()),
    path(f"{RUN}/submit_tool_outputs", SubmitToolOutputsView.as_view()),
    path(f"{RUN}/events", EventsView.as_view()),
    path(f"{RUN}/steps", StepsView.as_view()),
    path(f"{RUN}/steps/<str:step_id>", StepView.as_view()),
    path("vector_stores", VectorStoresView.as_view()),
    path(STORE, VectorStoreView.as_view()),
    path(f"{STORE}/search", SearchView.as_view()),
    path(f"{STORE}/files", StoreFilesView.as_view()),
    path(f"{STORE}/files/<str:file_id>", StoreFileView.as_view()),
    path(f"{STORE}/files/<str:file_id>/content", StoreFileContentView.as_view()),
    path(f"{STORE}/file_batches", BatchesView.as_view()),
    path(BATCH, BatchView.as_view()),
    path(f"{BATCH}/cancel", CancelBatchView.as_view()),
    path(f"{BATCH}/files", BatchFilesView.as_view()),
]
