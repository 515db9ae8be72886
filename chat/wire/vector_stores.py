"""Vector stores, their files, file batches and search results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chat.models import FileBatch, IndexStatus, StoreFile, VectorStore
from chat.wire.base import WireObject, unix


@dataclass(frozen=True, kw_only=True)
class FileSummary:
    """Content of a vector store or file batch: number of files per status, and indexed bytes."""

    counts: Mapping[str, int]
    usage_bytes: int = 0

    def count_files(self) -> WireObject:
        """Return `file_counts`."""
        counts = {status.value: self.counts.get(status.value, 0) for status in IndexStatus}
        return {**counts, "total": sum(counts.values())}

    @property
    def status(self) -> str:
        """Overall status: in progress while any file is in progress."""
        reading = self.counts.get(IndexStatus.IN_PROGRESS, 0)
        return str(IndexStatus.IN_PROGRESS if reading else IndexStatus.COMPLETED)


def vector_store_object(store: VectorStore, filling: FileSummary) -> WireObject:
    """Return the `vector_store` object."""
    days = store.expires_days
    return {
        "id": store.pk,
        "object": "vector_store",
        "created_at": unix(store.created_at),
        "name": store.name,
        "description": store.description or None,
        "usage_bytes": filling.usage_bytes,
        "file_counts": filling.count_files(),
        "status": "expired" if store.is_expired else filling.status,
        "expires_after": {"anchor": "last_active_at", "days": days} if days else None,
        "expires_at": unix(store.expires_at),
        "last_active_at": unix(store.last_active_at),
        "metadata": store.metadata,
    }


def vector_store_file_object(row: StoreFile) -> WireObject:
    """Return the `vector_store.file` object."""
    failed = row.status == IndexStatus.FAILED
    return {
        "id": row.file_id,
        "object": "vector_store.file",
        "usage_bytes": row.usage_bytes,
        "created_at": unix(row.created_at),
        "vector_store_id": row.store_id,
        "status": row.status,
        "last_error": {"code": row.error_code, "message": row.error_message} if failed else None,
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": row.max_chunk_tokens,
                "chunk_overlap_tokens": row.overlap_tokens,
            },
        },
        "attributes": row.attributes,
    }


def file_batch_object(batch: FileBatch, filling: FileSummary) -> WireObject:
    """Return the `vector_store.files_batch` object."""
    file_counts = filling.count_files()
    status = filling.status
    if batch.cancelled_at is not None:
        status = "cancelled"
    elif file_counts["total"] and file_counts["failed"] == file_counts["total"]:
        status = "failed"
    return {
        "id": batch.pk,
        "object": "vector_store.files_batch",
        "created_at": unix(batch.created_at),
        "vector_store_id": batch.store_id,
        "status": status,
        "file_counts": file_counts,
    }


def file_content_object(text: str) -> WireObject:
    """Return the extracted text of a file, as one page."""
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}],
        "has_more": False,
        "next_page": None,
    }


def search_results_object(questions: Sequence[str], data: list[WireObject]) -> WireObject:
    """Return the page of search results."""
    return {
        "object": "vector_store.search_results.page",
        "search_query": list(questions),
        "data": data,
        "has_more": False,
        "next_page": None,
    }


def search_result_object(row: StoreFile, *, filename: str, score: float, text: str) -> WireObject:
    """Return one search result."""
    return {
        "file_id": row.file_id,
        "filename": filename,
        "score": score,
        "attributes": row.attributes,
        "content": [{"type": "text", "text": text}],
    }
