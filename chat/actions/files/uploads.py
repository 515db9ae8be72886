"""Multipart uploads: create, receive parts, complete and cancel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import RawIOBase
from os import SEEK_END
from typing import Any, BinaryIO, cast

from django.core.files.storage import default_storage
from django.db import transaction

from chat import storage
from chat.actions.fields import (
    build_not_found,
    clean_choice,
    clean_id,
    clean_list,
    clean_text,
    get_row,
)
from chat.actions.files.manage import (
    PURPOSES,
    clean_file_expiry,
    clean_name,
    get_owner,
    receive_file,
)
from chat.conf import conf
from chat.errors import FileTooLarge, InvalidInput, UploadClosed
from chat.models import File, Upload, UploadPart, UploadStatus
from chat.models.files import Purpose
from tenants import clock
from tenants.authentication import Principal
from tenants.scope import tenant_scope

UPLOAD_LIFETIME = timedelta(hours=1)
MAX_PARTS = 10_000


def create_upload(
    principal: Principal,
    *,
    filename: str,
    purpose: str,
    size: int,
    mime_type: str,
    expires_after: Any = None,
) -> Upload:
    """Create an upload for a file of `size` bytes; it accepts parts for one hour.

    The content decides the file's media type, not `mime_type`.

    Raises:
        NotAllowed: the principal has no membership.
        InvalidInput: a field is invalid; `param` names it.
        FileTooLarge: `size` exceeds the file size limit.
        StorageFull: the company has no storage left.
    """
    purpose = clean_choice(purpose, param="purpose", choices=PURPOSES)
    company = principal.is_admin and purpose == Purpose.ASSISTANTS
    if size > conf.file_bytes:
        raise FileTooLarge(f"A file can have at most {conf.file_bytes} bytes.", param="bytes")
    now = clock.now()
    upload = Upload(
        tenant_id=principal.tenant_id,
        member=get_owner(principal, company=company),
        purpose=purpose,
        filename=clean_name(clean_text(filename, param="filename", limit=4096)),
        media_type=clean_text(mime_type, param="mime_type", limit=100),
        bytes=size,
        file_seconds=clean_file_expiry(expires_after),
        created_at=now,
        expires_at=now + UPLOAD_LIFETIME,
    )
    with tenant_scope(principal.tenant_id), transaction.atomic():
        storage.check_quota(size)
        upload.save(force_insert=True)
    return upload


def receive_part(principal: Principal, upload_id: str, content: BinaryIO) -> tuple[UploadPart, str]:
    """Store the bytes of a part and return it with its SHA-256; `finalize_part` completes it.

    Opens its own transactions.

    Raises:
        NotFound: the upload does not exist.
        UploadClosed: the upload is complete, cancelled or expired.
        InvalidInput: the upload has too many parts.
        FileTooLarge: the part is too large, or the parts exceed the announced size.
        StorageFull: the company has no storage left.
        Unavailable: the file storage cannot be reached.
    """
    size = content.seek(0, SEEK_END)
    content.seek(0)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        upload = lock_open_upload(principal, upload_id)
        if UploadPart.objects.filter(upload=upload).count() >= MAX_PARTS:
            raise InvalidInput(f"An upload can have at most {MAX_PARTS} parts.")
        _check_announced(upload, size)
        storage.check_quota(size)
        part = UploadPart(upload=upload, storage_key=storage.generate_key(principal.tenant_id))
        part.save(force_insert=True)
    written = storage.write(part, content, most=conf.part_bytes)
    part.bytes = written.bytes
    return part, written.sha256


def finalize_part(principal: Principal, part: UploadPart) -> UploadPart:
    """Complete a stored part and count its bytes.

    Raises:
        StorageFull: the company has no storage left.
        UploadClosed: the upload is complete, cancelled or expired.
        FileTooLarge: the parts exceed the announced size.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        upload = lock_open_upload(principal, part.upload_id)
        _check_announced(upload, part.bytes)
        storage.change_usage(part.bytes)
        part.stored_at = clock.now()
        part.save(update_fields=["bytes", "stored_at"])
        return part


def _check_announced(upload: Upload, more: int) -> None:
    kept = UploadPart.objects.filter(upload=upload, stored_at__isnull=False)
    if more + sum(kept.values_list("bytes", flat=True)) > upload.bytes:
        raise FileTooLarge(f"Expected {upload.bytes} bytes in total.", param="data")


def join_parts(principal: Principal, upload_id: str, *, part_ids: Any, md5: Any = None) -> File:
    """Join the parts of an upload into a file, to be passed to `complete_upload`.

    Opens its own transactions.

    Raises:
        NotFound: the upload or a part does not exist.
        UploadClosed: the upload is complete, cancelled or expired.
        InvalidInput: the parts do not match the announced size or the MD5 checksum.
        FileTooLarge: the file exceeds the size limit for its purpose.
        Unavailable: the file storage cannot be reached.
    """
    ids = [
        clean_id(part_id, param=f"part_ids[{index}]", prefix="part_")
        for index, part_id in enumerate(clean_list(part_ids, param="part_ids", limit=MAX_PARTS))
    ]
    if len(set(ids)) != len(ids):
        raise InvalidInput("Duplicate part ID.", param="part_ids")
    with tenant_scope(principal.tenant_id), transaction.atomic():
        upload = lock_open_upload(principal, upload_id)
        parts = _select_parts(upload, ids)
    if sum(part.bytes for part in parts) != upload.bytes:
        raise InvalidInput(f"Expected {upload.bytes} bytes in total.", param="part_ids")
    after = {"anchor": "created_at", "seconds": upload.file_seconds}
    joined = _PartsReader(parts)
    row = receive_file(
        principal,
        cast(BinaryIO, joined),
        filename=upload.filename,
        purpose=upload.purpose,
        expires_after=after if upload.file_seconds else None,
        company=upload.member_id is None,
        counted=True,
    )
    if md5 is not None and clean_text(md5, param="md5", limit=64).lower() != joined.md5.hexdigest():
        storage.discard(row)
        raise InvalidInput("MD5 checksum mismatch.", param="md5")
    return row


def complete_upload(principal: Principal, upload_id: str, row: File) -> Upload:
    """Replace the upload's parts with the joined file and make it visible.

    Raises:
        NotFound: the upload does not exist.
        UploadClosed: the upload is complete, cancelled or expired.
        StorageFull: the company has no storage left.
        Unavailable: the joined file was removed because completing took too long.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        upload = lock_open_upload(principal, upload_id)
        storage.discard_parts(upload)
        upload.file = storage.finalize(row)
        upload.status = UploadStatus.COMPLETED
        upload.save(update_fields=["file", "status"])
        return upload


def cancel_upload(principal: Principal, upload_id: str) -> Upload:
    """Cancel an upload and delete its parts; raises like `lock_open_upload`."""
    with tenant_scope(principal.tenant_id), transaction.atomic():
        upload = lock_open_upload(principal, upload_id)
        storage.discard_parts(upload)
        upload.status = UploadStatus.CANCELLED
        upload.save(update_fields=["status"])
        return upload


def check_upload(principal: Principal, upload_id: str) -> None:
    """Check that an upload accepts parts; raises like `lock_open_upload`."""
    with tenant_scope(principal.tenant_id), transaction.atomic():
        lock_open_upload(principal, upload_id)


def lock_open_upload(principal: Principal, upload_id: str) -> Upload:
    """Return one of the principal's uploads that accepts parts, locked.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the upload does not exist.
        UploadClosed: the upload is complete, cancelled or expired.
    """
    rows = Upload.objects.visible_to(principal).select_for_update(no_key=True)
    upload: Upload = get_row(rows, upload_id, param="upload_id", prefix="upload_")
    if upload.status != UploadStatus.PENDING or upload.expires_at < clock.now():
        raise UploadClosed()
    return upload


def _select_parts(upload: Upload, ids: Sequence[str]) -> list[UploadPart]:
    kept = UploadPart.objects.filter(upload=upload, stored_at__isnull=False).in_bulk(list(ids))
    for index, part_id in enumerate(ids):
        if part_id not in kept:
            raise build_not_found("part_", part_id, param=f"part_ids[{index}]")
    return [kept[part_id] for part_id in ids]


class _PartsReader(RawIOBase):
    """File object that reads the parts in order; it can only seek to the start or the end."""

    def __init__(self, parts: Sequence[UploadPart]) -> None:
        self.parts = parts
        self.size = sum(part.bytes for part in parts)
        self.seek(0)

    def _all(self) -> Iterator[bytes]:
        for part in self.parts:
            with default_storage.open(part.storage_key) as content:
                yield from content.chunks(storage.CHUNK_BYTES)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Rewind to the start; return the size when seeking to the end."""
        self._pieces, self._rest = self._all(), b""
        self.md5 = hashlib.md5(usedforsecurity=False)
        return self.size if whence == SEEK_END else 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` of the next bytes."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        cut = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:cut], self._rest[cut:]
        self.md5.update(piece)
        return piece
