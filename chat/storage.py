"""File contents: write them to the storage, charge the company's storage quota, erase them.

A row is committed before its first byte is written, so that bytes left behind by a crash
always have a row. A file becomes visible to others once it is complete and counted.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol
from uuid import UUID

import structlog
from django.core.files import File as Content
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F

from chat.conf import conf
from chat.errors import ChatError, FileTooLarge, StorageDiskFull, StorageFull, Unavailable
from chat.models import File, StorageUse, StoreFile, Upload, UploadPart
from chat.models.files import Purpose
from tenants import clock
from tenants.db import release_connection
from tenants.outages import log_outage
from tenants.scope import tenant_scope

CHUNK_BYTES = 1_048_576

log = structlog.get_logger(__name__)


class StoredRow(Protocol):
    """Protocol of rows that own stored bytes: a file, or a part of an upload."""

    tenant_id: UUID
    storage_key: str


@dataclass(frozen=True, kw_only=True)
class StoredContent:
    """Size and digest of content written to the storage."""

    bytes: int
    sha256: str


def generate_key(tenant_id: UUID) -> str:
    """Return a random storage key; no part of it comes from client input."""
    return f"files/{tenant_id}/{secrets.token_hex(20)}"


def write_new(row: File, content: BinaryIO, *, most: int | None = None) -> None:
    """Save the row and write the bytes of a new file; `finalize` or `discard` must follow.

    Takes the tenant from `row`, which is not saved yet. Opens its own scope and
    transactions: must not run within another transaction.

    Raises:
        FileTooLarge: the content exceeds `most` bytes, or ATRIUM_FILE_BYTES if `most` is None.
        StorageDiskFull: the disk is full.
        Unavailable: the disk or bucket does not accept the content.
    """
    row.storage_key = generate_key(row.tenant_id)
    with tenant_scope(row.tenant_id), transaction.atomic():
        row.save(force_insert=True)
    try:
        written = write(row, content, most=conf.file_bytes if most is None else most)
    except ChatError:
        discard(row)
        raise
    row.bytes, row.sha256 = written.bytes, written.sha256


def read_content(key: str) -> bytes:
    """Return the complete content of a small file.

    Raises:
        FileNotFoundError: the content no longer exists.
    """
    with default_storage.open(key) as content:
        data: bytes = content.read()
    return data


def finalize(row: File) -> File:
    """Make a written file visible to others; run it in the tenant's scope and a transaction.

    Raises:
        StorageFull: the company has no storage left; nothing has changed.
        Unavailable: the file took too long to arrive and was discarded.
    """
    change_usage(row.bytes)
    row.stored_at = clock.now()
    arriving = File.objects.filter(pk=row.pk, stored_at=None, deleted_at=None)
    if not arriving.update(bytes=row.bytes, sha256=row.sha256, stored_at=row.stored_at):
        default_storage.delete(row.storage_key)
        raise Unavailable()
    return row


def discard(row: File) -> None:
    """Discard a file that was not kept; its bytes are removed in the background."""
    with tenant_scope(row.tenant_id), transaction.atomic():
        discard_in_transaction(row)


def discard_in_transaction(row: File) -> None:
    """Discard a file like `discard`, within the caller's scope and transaction."""
    File.objects.filter(pk=row.pk, stored_at=None).update(deleted_at=clock.now())


def write(row: StoredRow, content: BinaryIO, *, most: int) -> StoredContent:
    """Write content under the storage key of a committed row.

    Raises:
        FileTooLarge: the content exceeds `most` bytes.
        StorageDiskFull: the disk is full.
        Unavailable: the disk or bucket does not accept the content.
    """
    # A write may take minutes; other requests need the database connection.
    release_connection()
    measured = _MeasuringReader(content, most)
    try:
        name = default_storage.save(row.storage_key, measured)
    except OSError as error:
        _delete_partial(row.storage_key)
        if log_outage(error, work="storage"):
            raise StorageDiskFull() from error
        log.exception("storage_failed")
        raise Unavailable() from error
    assert name == row.storage_key, "keys are random: nothing else is there"
    return StoredContent(bytes=measured.seen, sha256=measured.sha256.hexdigest())


def _delete_partial(key: str) -> None:
    """Delete partial content; if that fails now, it is erased later with its row."""
    with suppress(OSError):
        default_storage.delete(key)


class _MeasuringReader(Content):  # type: ignore[type-arg]
    """Reader that counts and hashes content while the storage reads it."""

    def __init__(self, content: BinaryIO, most: int) -> None:
        super().__init__(content, name="content")
        self.content = content
        self.most, self.seen = most, 0
        self.sha256 = hashlib.sha256()

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the content in chunks."""
        while piece := self.read(chunk_size or CHUNK_BYTES):
            yield piece

    def seekable(self) -> bool:
        """Return False, because content read twice would be counted twice."""
        return False

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end.

        Some storages call this instead of `chunks`, and treat a short read as the end.
        """
        pieces = []
        while size and (piece := self.content.read(size)):
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
            self._measure(piece)
        return b"".join(pieces)

    def _measure(self, piece: bytes) -> None:
        self.seen += len(piece)
        if self.seen > self.most:
            raise FileTooLarge(f"Files of this kind can have at most {self.most} bytes.")
        self.sha256.update(piece)


def compute_sha256(content: BinaryIO) -> str:
    """Return the digest of content that is not stored, in the format that `write` returns."""
    content.seek(0)
    digest = hashlib.sha256()
    for piece in iter(lambda: content.read(CHUNK_BYTES), b""):
        digest.update(piece)
    return digest.hexdigest()


def change_usage(by: int) -> None:
    """Add `by` bytes to the company's storage usage; a negative number releases them.

    Run it in the tenant's scope and a transaction.

    Raises:
        StorageFull: the company would exceed its storage quota.
    """
    if by > 0:
        StorageUse.objects.bulk_create([StorageUse()], ignore_conflicts=True)
    rows = StorageUse.objects.all()
    if by > 0:
        rows = rows.filter(bytes__lte=conf.storage_bytes - by)
    if not rows.update(bytes=F("bytes") + by) and by > 0:
        raise StorageFull()


def check_quota(by: int) -> None:
    """Check early whether `finalize` would accept `by` more bytes.

    Run it in the tenant's scope and a transaction.

    Raises:
        StorageFull: the company would exceed its storage quota.
    """
    used = StorageUse.objects.values_list("bytes", flat=True).first() or 0
    if used + by > conf.storage_bytes:
        raise StorageFull()


def transfer_bytes(row: File) -> None:
    """Transfer a written file's bytes to another row that has the same storage key.

    Run it in the tenant's scope and a transaction.

    Raises:
        StorageFull: the company has no storage left.
        Unavailable: the file was discarded or kept in the meantime.
    """
    change_usage(row.bytes)
    if not File.objects.filter(pk=row.pk, stored_at=None, deleted_at=None).delete()[0]:
        raise Unavailable()


def release_bytes(key: str, *, size: int) -> None:
    """Release counted bytes that no row refers to: erase them like those of a deleted file.

    Run it in the tenant's scope and a transaction.
    """
    change_usage(-size)
    File.objects.create(
        purpose=Purpose.ASSISTANTS_OUTPUT,
        filename="bytes",
        media_type="application/octet-stream",
        storage_key=key,
        deleted_at=clock.now(),
    )


def remove(file_id: str) -> bool:
    """Delete a file: release its storage quota and remove its passages from search.

    Run it in the tenant's scope and a transaction. The bytes are erased in the
    background. Returns False if the file was already deleted.
    """
    row: File | None = File.objects.select_for_update().filter(pk=file_id, deleted_at=None).first()
    if row is None:
        return False
    if row.stored_at is not None:
        change_usage(-row.bytes)
    StoreFile.objects.filter(file=row).delete()
    row.deleted_at = clock.now()
    row.save(update_fields=["deleted_at"])
    return True


def erase(file_id: str, *, arrive_seconds: float) -> None:
    """Erase a file that was deleted, has expired, or did not arrive in time; else do nothing.

    Run it in the tenant's scope; it opens its own transactions. The row is deleted last, so
    that a crash midway leaves a record of the remaining work.
    """
    now = clock.now()
    with transaction.atomic():
        row = File.objects.filter(pk=file_id).first()
        if row is None:
            return
        late = row.stored_at is None and row.created_at < now - timedelta(seconds=arrive_seconds)
        expired = row.expires_at is not None and row.expires_at < now
        if row.deleted_at is None and not late and not expired:
            return
        remove(row.pk)
    default_storage.delete(row.storage_key)
    with transaction.atomic():
        File.objects.filter(pk=row.pk).delete()


def discard_parts(upload: Upload) -> None:
    """Delete an upload's parts: release their quota and erase their bytes in the background.

    Run it in the tenant's scope and a transaction that has locked the upload.
    """
    parts = list(UploadPart.objects.filter(upload=upload))
    now = clock.now()
    File.objects.bulk_create(
        [
            File(
                member_id=upload.member_id,
                purpose=upload.purpose,
                filename=upload.filename,
                media_type=upload.media_type,
                storage_key=part.storage_key,
                created_at=part.created_at,
                deleted_at=now,
            )
            for part in parts
        ]
    )
    UploadPart.objects.filter(upload=upload).delete()
    change_usage(-sum(part.bytes for part in parts if part.stored_at is not None))
