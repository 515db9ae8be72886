"""Files, uploads and vector stores as the objects of the Assistants API.

As in `wire`: no function queries, times are Unix seconds, nullable keys are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils import timezone

from chat.models import File, FileBatch, IndexStatus, StoreFile, Upload, UploadPart, VectorStore
from chat.wire import WireObject, unix


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What is in a vector store or a batch: files by status, and bytes for searching."""

    counts: Mapping[str, int]
    usage_bytes: int = 0

    def counted(self) -> WireObject:
        """Return `file_counts`."""
        found = {status.value: self.counts.get(status.value, 0) for status in IndexStatus}
        return {**found, "total": sum(found.values())}

    @property
    def status(self) -> str:
        """Of the whole: being read as long as one file is."""
        reading = self.counts.get(IndexStatus.IN_PROGRESS, 0)
        return str(IndexStatus.IN_PROGRESS if reading else IndexStatus.COMPLETED)


EMPTY = Filling(counts={})


def file_object(file: File) -> WireObject:
    """Return the `file` object; there are no others than those that arrived whole."""
    return {
        "id": file.pk,
        "object": "file",
        "bytes": file.bytes,
        "created_at": unix(file.created_at),
        "expires_at": unix(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def upload_object(upload: Upload) -> WireObject:
    """Return the `upload` object; needs `upload.file` loaded."""
    late = upload.status == "pending" and upload.expires_at < timezone.now()
    return {
        "id": upload.pk,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": unix(upload.created_at),
        "expires_at": unix(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": "expired" if late else upload.status,
        "file": file_object(upload.file) if upload.file else None,
    }


def part_object(part: UploadPart) -> WireObject:
    """Return the `upload.part` object."""
    return {
        "id": part.pk,
        "object": "upload.part",
        "created_at": unix(part.created_at),
        "upload_id": part.upload_id,
    }


def store_object(store: VectorStore, filling: Filling) -> WireObject:
    """Return the `vector_store` object."""
    days = store.expires_days
    return {
        "id": store.pk,
        "object": "vector_store",
        "created_at": unix(store.created_at),
        "name": store.name,
        "description": store.description or None,
        "usage_bytes": filling.usage_bytes,
        "file_counts": filling.counted(),
        "status": "expired" if store.is_expired else filling.status,
        "expires_after": {"anchor": "last_active_at", "days": days} if days else None,
        "expires_at": unix(store.expires_at),
        "last_active_at": unix(store.last_active_at),
        "metadata": store.metadata,
    }


def store_file_object(row: StoreFile) -> WireObject:
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


def batch_object(batch: FileBatch, filling: Filling) -> WireObject:
    """Return the `vector_store.files_batch` object."""
    counted = filling.counted()
    status = filling.status
    if batch.cancelled_at is not None:
        status = "cancelled"
    elif counted["total"] and counted["failed"] == counted["total"]:
        status = "failed"
    return {
        "id": batch.pk,
        "object": "vector_store.files_batch",
        "created_at": unix(batch.created_at),
        "vector_store_id": batch.store_id,
        "status": status,
        "file_counts": counted,
    }


def content_object(text: str) -> WireObject:
    """Return what was read of a file, as one page."""
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}],
        "has_more": False,
        "next_page": None,
    }


def search_object(questions: Sequence[str], data: list[WireObject]) -> WireObject:
    """Return the page of what a search found."""
    return {
        "object": "vector_store.search_results.page",
        "search_query": list(questions),
        "data": data,
        "has_more": False,
        "next_page": None,
    }


def result_object(row: StoreFile, *, filename: str, score: float, text: str) -> WireObject:
    """Return one passage that was found."""
    return {
        "file_id": row.file_id,
        "filename": filename,
        "score": score,
        "attributes": row.attributes,
        "content": [{"type": "text", "text": text}],
    }
