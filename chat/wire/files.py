"""Files, and uploads of large files in parts."""

from __future__ import annotations

from chat.models import File, Upload, UploadPart
from chat.wire.base import WireObject, unix
from tenants import clock


def file_object(file: File) -> WireObject:
    """Return the `file` object; only files that arrived completely are rendered."""
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


def assistant_file_object(file: File, assistant_id: str) -> WireObject:
    """Return the `assistant.file` object of version 1."""
    return {
        "id": file.pk,
        "object": "assistant.file",
        "created_at": unix(file.created_at),
        "assistant_id": assistant_id,
    }


def message_file_object(file: File, message_id: str) -> WireObject:
    """Return the `thread.message.file` object of version 1."""
    return {
        "id": file.pk,
        "object": "thread.message.file",
        "created_at": unix(file.created_at),
        "message_id": message_id,
    }


def upload_object(upload: Upload) -> WireObject:
    """Return the `upload` object; needs `upload.file` loaded."""
    late = upload.status == "pending" and upload.expires_at < clock.now()
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


def upload_part_object(part: UploadPart) -> WireObject:
    """Return the `upload.part` object."""
    return {
        "id": part.pk,
        "object": "upload.part",
        "created_at": unix(part.created_at),
        "upload_id": part.upload_id,
    }
