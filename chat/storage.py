"""The bytes of files: into the storage, counted against a company's share, and out again.

A row is committed before its first byte, so that whatever a crash leaves behind has a row
that tells of it; a file is there for others once it is whole and counted.
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

CHUNK = 1_048_576

log = structlog.get_logger(__name__)


class Row(Protocol):
    """What has bytes: a file, or a part of an upload."""

    tenant_id: UUID
    storage_key: str


HASHED_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class StoredContent:
    """What was put into the storage."""

    bytes: int
    sha256: str


def new_key(tenant_id: UUID) -> str:
    """Return where new bytes go; nothing that came from outside is part of it."""
    return f"files/{tenant_id}/{secrets.token_hex(20)}"


def write_new(row: File, content: BinaryIO, *, most: int | None = None) -> None:
    """Store row and bytes of a file that `keep` or `discard` is to end.

    Takes the tenant from `row`, which is not saved yet. Opens scope and
    transactions itself: must not run within another transaction.

    Raises:
        FileTooLarge: for more than `most` bytes, ATRIUM_FILE_BYTES where that is None.
        Unavailable: when the disk or bucket takes nothing; StorageDiskFull when it is full.
    """
    row.storage_key = new_key(row.tenant_id)
    with tenant_scope(row.tenant_id), transaction.atomic():
        row.save(force_insert=True)
    try:
        written = write(row, content, most=conf.file_bytes if most is None else most)
    except ChatError:
        discard(row)
        raise
    row.bytes, row.sha256 = written.bytes, written.sha256


def contents(key: str) -> bytes:
    """Return the whole bytes of what is small.

    Raises:
        FileNotFoundError: when they are gone.
    """
    with default_storage.open(key) as content:
        data: bytes = content.read()
    return data


def keep(row: File) -> File:
    """Make a written file be there for others; run it in the tenant's scope and a transaction.

    Raises:
        StorageFull: when the company keeps too much already; nothing has changed then.
        Unavailable: when it took so long that it was given up.
    """
    change_use(row.bytes)
    row.stored_at = clock.now()
    arriving = File.objects.filter(pk=row.pk, stored_at=None, deleted_at=None)
    if not arriving.update(bytes=row.bytes, sha256=row.sha256, stored_at=row.stored_at):
        default_storage.delete(row.storage_key)
        raise Unavailable()
    return row


def discard(row: File) -> None:
    """Give up a file that was not kept; its bytes are removed in the background."""
    with tenant_scope(row.tenant_id), transaction.atomic():
        drop(row)


def drop(row: File) -> None:
    """Do as `discard`, within the caller's scope and transaction."""
    File.objects.filter(pk=row.pk, stored_at=None).update(deleted_at=clock.now())


def write(row: Row, content: BinaryIO, *, most: int) -> StoredContent:
    """Put bytes where a committed row says.

    Raises:
        FileTooLarge: for more than `most`.
        Unavailable: when the disk or bucket takes nothing.
    """
    # It may take minutes: others need the connection to the database.
    release_connection()
    measured = _MeasuringReader(content, most)
    try:
        name = default_storage.save(row.storage_key, measured)
    except OSError as error:
        _forget_half(row.storage_key)
        if log_outage(error, work="storage"):
            raise StorageDiskFull() from error
        log.exception("storage_failed")
        raise Unavailable() from error
    assert name == row.storage_key, "keys are random: nothing else is there"
    return StoredContent(bytes=measured.seen, sha256=measured.sha256.hexdigest())


def _forget_half(key: str) -> None:
    """Give back the room of what arrived; where it cannot be done now, the row is erased later."""
    with suppress(OSError):
        default_storage.delete(key)


class _MeasuringReader(Content):  # type: ignore[type-arg]
    """Content that is counted and hashed while the storage takes it."""

    def __init__(self, content: BinaryIO, most: int) -> None:
        super().__init__(content, name="content")
        self.content = content
        self.most, self.seen = most, 0
        self.sha256 = hashlib.sha256()

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes, in pieces."""
        while piece := self.read(chunk_size or CHUNK):
            yield piece

    def seekable(self) -> bool:
        """Return False: what is read twice would be counted twice."""
        return False

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end, for storages that read themselves.

        Some take one that came short for the end.
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
            raise FileTooLarge(f"A file of this kind has at most {self.most} bytes.")
        self.sha256.update(piece)


def sha256_of(content: BinaryIO) -> str:
    """Return the digest of what is not stored, as `write` returns it of what is."""
    content.seek(0)
    digest = hashlib.sha256()
    for piece in iter(lambda: content.read(HASHED_AT_ONCE), b""):
        digest.update(piece)
    return digest.hexdigest()


def change_use(by: int) -> None:
    """Count bytes that come, or with a minus go; in the tenant's scope and a transaction.

    Raises:
        StorageFull: for more than the company may keep.
    """
    if by > 0:
        StorageUse.objects.bulk_create([StorageUse()], ignore_conflicts=True)
    rows = StorageUse.objects.all()
    if by > 0:
        rows = rows.filter(bytes__lte=conf.storage_bytes - by)
    if not rows.update(bytes=F("bytes") + by) and by > 0:
        raise StorageFull()


def check_room(by: int) -> None:
    """Refuse early what `keep` would refuse; in the tenant's scope and a transaction.

    Raises:
        StorageFull: as it says.
    """
    used = StorageUse.objects.values_list("bytes", flat=True).first() or 0
    if used + by > conf.storage_bytes:
        raise StorageFull()


def claim_bytes(row: File) -> None:
    """Let a written file's bytes be another row's from now on, which names the same key.

    Run it in the tenant's scope and a transaction.

    Raises:
        StorageFull, Unavailable: as `keep`.
    """
    change_use(row.bytes)
    if not File.objects.filter(pk=row.pk, stored_at=None, deleted_at=None).delete()[0]:
        raise Unavailable()


def let_go(key: str, *, size: int) -> None:
    """Let counted bytes that no row names any more go the way of deleted files.

    Run it in the tenant's scope and a transaction.
    """
    change_use(-size)
    File.objects.create(
        purpose=Purpose.ASSISTANTS_OUTPUT,
        filename="bytes",
        media_type="application/octet-stream",
        storage_key=key,
        deleted_at=clock.now(),
    )


def remove(file_id: str) -> bool:
    """Delete a file that is there: its bytes count no more, and nothing finds its passages.

    Run it in the tenant's scope and a transaction. The bytes themselves go in
    the background. False where somebody else was first.
    """
    row: File | None = File.objects.select_for_update().filter(pk=file_id, deleted_at=None).first()
    if row is None:
        return False
    if row.stored_at is not None:
        change_use(-row.bytes)
    StoreFile.objects.filter(file=row).delete()
    row.deleted_at = clock.now()
    row.save(update_fields=["deleted_at"])
    return True


def erase(file_id: str, *, arrive_seconds: float) -> None:
    """Erase a file that was deleted, has expired, or did not arrive in time; else do nothing.

    Opens scope-bound transactions itself; the row goes last, so that a crash on
    the way leaves what is still to be done. Run it in the tenant's scope.
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


def give_up_parts(upload: Upload) -> None:
    """Take an upload's parts away: they count no more, and go the way of deleted files.

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
    change_use(-sum(part.bytes for part in parts if part.stored_at is not None))
