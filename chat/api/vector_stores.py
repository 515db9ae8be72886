"""Views of /v1/vector_stores."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from chat import wire
from chat.actions.files.manage import record_download
from chat.actions.vector_stores.files import (
    add_store_file,
    cancel_batch,
    create_batch,
    get_own_batch,
    get_own_store_file,
    list_store_files,
    remove_store_file,
    update_store_file,
)
from chat.actions.vector_stores.manage import (
    create_store,
    delete_store,
    get_own_store,
    summarize_batch,
    summarize_stores,
    update_store,
)
from chat.actions.vector_stores.search import search_store
from chat.api import pagination
from chat.api.base import ApiView
from chat.api.fields import Choice, Input, Number, RawValue, StrictBoolean, StrictInteger
from chat.api.pagination import PageQuery
from chat.errors import StoreExpired
from chat.models import FileBatch, IndexStatus, StoreFile, VectorStore

POLL_AFTER_MS = 500
MAX_RESULTS, DEFAULT_RESULTS = 50, 10
RANKERS = ("none", "auto", "default-2024-11-15")


class StoreUpdate(Input):
    """Changeable fields of a vector store."""

    name = RawValue(required=False, allow_null=True)
    expires_after = RawValue(required=False, allow_null=True)
    metadata = RawValue(required=False, allow_null=True)


class VectorStoreInput(StoreUpdate):
    """Body of a new vector store."""

    description = RawValue(required=False, allow_null=True)
    file_ids = RawValue(required=False, allow_null=True)
    chunking_strategy = RawValue(required=False, allow_null=True)


class NewStoreFile(Input):
    """Body that adds a file to a vector store."""

    file_id = RawValue()
    attributes = RawValue(required=False, allow_null=True)
    chunking_strategy = RawValue(required=False, allow_null=True)


class StoreFileUpdate(Input):
    """Changeable fields of a file in a vector store."""

    attributes = RawValue(allow_null=True)


class NewBatch(Input):
    """Body that adds several files to a vector store."""

    file_ids = RawValue(required=False, allow_null=True)
    files = RawValue(required=False, allow_null=True)
    attributes = RawValue(required=False, allow_null=True)
    chunking_strategy = RawValue(required=False, allow_null=True)


class Ranking(Input):
    """Ranking options; all rankers give the same result."""

    ranker = Choice(required=False, choices=RANKERS)
    score_threshold = Number(required=False, min_value=0, max_value=1)


class NewSearch(Input):
    """Body of a search."""

    query = RawValue()
    rewrite_query = StrictBoolean(required=False)
    max_num_results = StrictInteger(default=DEFAULT_RESULTS, min_value=1, max_value=MAX_RESULTS)
    filters = RawValue(required=False, allow_null=True)
    ranking_options = Ranking(required=False)


class StoreFilesQuery(PageQuery):
    """Query parameters of a file list; `filter` selects a status."""

    filter = Choice(required=False, choices=IndexStatus.values)


def render_store(store: VectorStore) -> wire.WireObject:
    """Return the object of a store with current counts; call it in a transaction."""
    return wire.vector_store_object(store, summarize_stores([store])[store.pk])


class StoreFilesApiView(ApiView):
    """Base of the views of files in a store or a batch."""

    def respond_with_files(self, store: VectorStore, **of: Any) -> Response:
        """Return a page of the files; call it in a transaction."""
        query = self.query(StoreFilesQuery)
        rows = list_store_files(store).filter(**of)
        if query.get("filter"):
            rows = rows.filter(status=query["filter"])
        return self.page(
            rows, wire.vector_store_file_object, query=query, prefix="file-", key="file_id"
        )

    def respond_with_file(self, row: StoreFile) -> Response:
        """Return the response for a file, with a poll interval while it is being indexed."""
        reading = row.status == IndexStatus.IN_PROGRESS
        rendered = wire.vector_store_file_object(row)
        return self.answer(rendered, poll_after=POLL_AFTER_MS if reading else None)

    def respond_with_batch(self, batch: FileBatch) -> Response:
        """Return the response for a batch, with a poll interval while it is being indexed.

        Call it in a transaction.
        """
        rendered = wire.file_batch_object(batch, summarize_batch(batch))
        reading = rendered["status"] == IndexStatus.IN_PROGRESS
        return self.answer(rendered, poll_after=POLL_AFTER_MS if reading else None)


class VectorStoresView(ApiView):
    """Vector stores of the caller; for admins also those of the company."""

    def get(self, request: Request) -> Response:
        """List the vector stores."""
        query = self.query(PageQuery)
        with transaction.atomic():
            rows = VectorStore.objects.visible_to(self.principal)
            stores, has_more = pagination.read_page(
                rows, query=query, prefix="vs_", by=("created_at", "id")
            )
            filled = summarize_stores(stores)
        data = [wire.vector_store_object(store, filled[store.pk]) for store in stores]
        return self.answer(wire.list_object(data, has_more=has_more))

    def post(self, request: Request) -> Response:
        """Create a vector store; an admin's belongs to the company."""
        store = create_store(self.principal, **self.input(VectorStoreInput))
        with transaction.atomic():
            return self.add_etag(self.answer(render_store(store)), store.version)


class VectorStoreView(ApiView):
    """A single vector store."""

    def get(self, request: Request, vector_store_id: str) -> Response:
        """Retrieve the vector store."""
        with transaction.atomic():
            return self.respond_with_store(get_own_store(self.principal, vector_store_id))

    def post(self, request: Request, vector_store_id: str) -> Response:
        """Update the store; `If-Match` names the version that the client has seen."""
        version = self.get_expected_version()
        fields = self.input(StoreUpdate)
        store = update_store(self.principal, vector_store_id, version=version, **fields)
        with transaction.atomic():
            return self.respond_with_store(store)

    def respond_with_store(self, store: VectorStore) -> Response:
        """Return the response for the store, with its ETag; call it in a transaction."""
        return self.add_etag(self.answer(render_store(store)), store.version)

    def delete(self, request: Request, vector_store_id: str) -> Response:
        """Delete the vector store; its files are kept."""
        delete_store(self.principal, vector_store_id)
        return self.answer(wire.render_deleted(vector_store_id, "vector_store"))


class StoreFilesView(StoreFilesApiView):
    """Files of a vector store."""

    def get(self, request: Request, vector_store_id: str) -> Response:
        """List the files."""
        with transaction.atomic():
            return self.respond_with_files(get_own_store(self.principal, vector_store_id))

    def post(self, request: Request, vector_store_id: str) -> Response:
        """Add a file; it is indexed in the background."""
        body = self.input(NewStoreFile)
        return self.respond_with_file(add_store_file(self.principal, vector_store_id, **body))


class StoreFileView(StoreFilesApiView):
    """A single file of a vector store."""

    def get(self, request: Request, vector_store_id: str, file_id: str) -> Response:
        """Retrieve the file."""
        with transaction.atomic():
            return self.respond_with_file(
                get_own_store_file(self.principal, vector_store_id, file_id)
            )

    def post(self, request: Request, vector_store_id: str, file_id: str) -> Response:
        """Update the file's attributes."""
        body = self.input(StoreFileUpdate)
        return self.respond_with_file(
            update_store_file(self.principal, vector_store_id, file_id, **body)
        )

    def delete(self, request: Request, vector_store_id: str, file_id: str) -> Response:
        """Remove the file from the store; the file itself is kept."""
        remove_store_file(self.principal, vector_store_id, file_id)
        return self.answer(wire.render_deleted(file_id, "vector_store.file"))


class StoreFileContentView(ApiView):
    """Extracted text of a file in a vector store."""

    def get(self, request: Request, vector_store_id: str, file_id: str) -> Response:
        """Return the extracted text, which is empty until the file has been read."""
        with transaction.atomic():
            row = get_own_store_file(self.principal, vector_store_id, file_id)
            if row.store.is_expired:
                raise StoreExpired()
            record_download(self.principal, row.file)
            return self.answer(wire.file_content_object(row.text))


class BatchesView(StoreFilesApiView):
    """File batches of a vector store."""

    def post(self, request: Request, vector_store_id: str) -> Response:
        """Add several files; they are indexed in the background."""
        batch = create_batch(self.principal, vector_store_id, **self.input(NewBatch))
        with transaction.atomic():
            return self.respond_with_batch(batch)


class BatchView(StoreFilesApiView):
    """A single file batch."""

    def get(self, request: Request, vector_store_id: str, batch_id: str) -> Response:
        """Retrieve the batch."""
        with transaction.atomic():
            return self.respond_with_batch(get_own_batch(self.principal, vector_store_id, batch_id))


class CancelBatchView(StoreFilesApiView):
    """Cancellation of a file batch."""

    def post(self, request: Request, vector_store_id: str, batch_id: str) -> Response:
        """Cancel the files of the batch that have not been read yet."""
        self.input(Input)
        batch = cancel_batch(self.principal, vector_store_id, batch_id)
        with transaction.atomic():
            return self.respond_with_batch(batch)


class BatchFilesView(StoreFilesApiView):
    """Files of a file batch."""

    def get(self, request: Request, vector_store_id: str, batch_id: str) -> Response:
        """List the files."""
        with transaction.atomic():
            batch = get_own_batch(self.principal, vector_store_id, batch_id)
            return self.respond_with_files(batch.store, batch=batch)


class SearchView(ApiView):
    """Search in a vector store."""

    # A search changes nothing and calls a model server, so it must not hold a transaction.
    guards_itself = True
    guards_retries = False

    def post(self, request: Request, vector_store_id: str) -> Response:
        """Return the best matching passages."""
        body = self.input(NewSearch)
        results = search_store(
            self.principal,
            vector_store_id,
            query=body["query"],
            most=body["max_num_results"],
            threshold=body.get("ranking_options", {}).get("score_threshold", 0.0),
            filters=body.get("filters"),
        )
        data = [
            wire.search_result_object(
                result.chunk.store_file,
                filename=result.filename,
                score=min(result.score, 1.0),
                text=result.chunk.text,
            )
            for result in results.found
        ]
        return self.answer(wire.search_results_object(results.questions, data))
