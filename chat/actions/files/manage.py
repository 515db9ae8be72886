"""Upload, describe and delete files."""

from __future__ import annotations

import re
from datetime import timedelta
from os import SEEK_END
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from django.db import transaction

from chat import storage
from chat.actions.fields import clean_choice, clean_expiry, get_row
from chat.conf import conf
from chat.errors import ChatError, FileTooLarge, InvalidInput, NotAllowed
from chat.models import File, IdempotencyRecord, VectorStore
from chat.models.files import Purpose
from chat.retrieval.file_types import SNIFF_BYTES, Kind, detect_media_type
from tenants import audit, clock
from tenants.authentication import Principal
from tenants.db import release_connection
from tenants.scope import tenant_scope

# Purposes a client may upload with; the others are assigned by the server.
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
EXPIRY_RANGE_SECONDS = (3600, 2_592_000)
MAX_IMAGE_BYTES = 20_971_520
IMAGE_TYPES = {kind.value for kind in Kind if kind.is_image}
MAX_NAME_CHARACTERS = 255
_UNSAFE_CHARACTERS = re.compile(
    r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def create_file(
    principal: Principal,
    content: BinaryIO,
    *,
    filename: str,
    purpose: str,
    expires_after: Any = None,
    company: bool = False,
    goes_with_threads: bool = False,
) -> File:
    """Store a file for the principal, or with `company` (admins only) for the company.

    With `goes_with_threads` the file is deleted with the last thread that refers to it.
    `content` is read from the beginning, in chunks. Opens its own transactions: do not
    call within a transaction.

    Raises:
        NotAllowed: the principal has no membership, or is a member and asks for `company`.
        InvalidInput: a field is invalid, the file is empty, or it is not an image although
            the purpose is "vision"; `param` names the field.
        FileTooLarge: the file exceeds the size limit for its purpose.
        StorageFull: the company has no storage left.
        Unavailable: the file storage cannot be reached.
    """
    row = receive_file(
        principal,
        content,
        filename=filename,
        purpose=purpose,
        expires_after=expires_after,
        company=company,
        goes_with_threads=goes_with_threads,
    )
    try:
        return finalize_file(principal, row)
    except ChatError:
        storage.discard(row)
        raise


def receive_file(
    principal: Principal,
    content: BinaryIO,
    *,
    filename: str,
    purpose: str,
    expires_after: Any = None,
    company: bool = False,
    goes_with_threads: bool = False,
    counted: bool = False,
) -> File:
    """Do the slow part of `create_file`; the file is not visible yet.

    Follow up with `finalize_file` or `storage.discard`; otherwise a background job removes
    the file. `counted` means that its bytes already count towards the company's usage.
    Raises like `create_file`.
    """
    member = get_owner(principal, company=company)
    purpose = clean_choice(purpose, param="purpose", choices=PURPOSES)
    kind = detect_type(content, filename)
    most = conf.file_bytes
    if purpose == Purpose.VISION:
        if kind not in IMAGE_TYPES:
            raise InvalidInput("Images must be PNG, JPEG, GIF or WebP files.", param="file")
        most = min(most, MAX_IMAGE_BYTES)
    seconds = clean_file_expiry(expires_after)
    _check_size(principal, content, most, counted=counted)
    now = clock.now()
    row = File(
        tenant_id=principal.tenant_id,
        member=member,
        purpose=purpose,
        filename=clean_name(filename),
        media_type=kind,
        goes_with_threads=goes_with_threads,
        created_at=now,
        expires_at=now + timedelta(seconds=seconds) if seconds else None,
    )
    storage.write_new(row, content, most=most)
    return row


def _check_size(principal: Principal, content: BinaryIO, most: int, *, counted: bool) -> None:
    """Reject a file that is too large before storing it."""
    size = content.seek(0, SEEK_END)
    content.seek(0)
    if size > most:
        raise FileTooLarge(f"Files of this type can have at most {most} bytes.")
    if counted:
        return
    with tenant_scope(principal.tenant_id), transaction.atomic():
        storage.check_quota(size)


def finalize_file(principal: Principal, row: File) -> File:
    """Make a received file visible and count its bytes.

    Raises:
        StorageFull: the company has no storage left.
        Unavailable: the stored bytes were removed because the upload took too long.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        kept = storage.finalize(row)
        record_company_action(principal, "file.uploaded", kept, name=kept.filename)
        return kept


def delete_file(principal: Principal, file_id: str) -> None:
    """Delete a file and its search index entries.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the file does not exist.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        row = get_own_file(principal, file_id)
        if storage.remove(row.pk):
            IdempotencyRecord.objects.about(row.pk).delete()
            record_company_action(principal, "file.deleted", row, name=row.filename)


def get_own_file(principal: Principal, file_id: Any) -> File:
    """Return one of the principal's files. Call within a tenant transaction.

    Raises:
        InvalidInput: the ID is malformed.
        NotFound: the file does not exist.
    """
    rows = File.objects.visible_to(principal)
    row: File = get_row(rows, file_id, param="file_id", prefix="file-")
    return row


def get_owner(principal: Principal, *, company: bool) -> Any:
    """Return the owner of a new file or store: a membership, or None for the company.

    Raises:
        NotAllowed: the principal has no membership, or is a member and asks for `company`.
    """
    if company and principal.is_admin:
        return None
    if company or principal.membership is None:
        raise NotAllowed()
    return principal.membership


def record_company_action(
    principal: Principal, action: str, row: File | VectorStore, **data: Any
) -> None:
    """Write an audit log entry if the row belongs to the company; members' own are not logged."""
    if row.member_id is None:
        audit.record(principal, action, row.pk, **data)


def record_download(principal: Principal, row: File) -> None:
    """Write an audit log entry for the download of a company file, in a separate transaction.

    Releases the database connection, because a slow client can take long to download.
    """
    if row.member_id is not None:
        return
    with tenant_scope(principal.tenant_id), transaction.atomic():
        record_company_action(principal, "file.downloaded", row, name=row.filename)
    release_connection()


def clean_name(name: str) -> str:
    """Return a display name: the last path component, on one line, never empty."""
    last = PurePosixPath(_UNSAFE_CHARACTERS.sub("", name).replace("\\", "/")).name.strip()
    if len(last) > MAX_NAME_CHARACTERS:
        suffix = PurePosixPath(last).suffix[:20]
        last = last[: MAX_NAME_CHARACTERS - len(suffix)] + suffix
    return last or "file"


def clean_file_expiry(value: Any) -> int | None:
    """Return the lifetime of a file in seconds, None without expiry; raises InvalidInput."""
    least, most = EXPIRY_RANGE_SECONDS
    return clean_expiry(value, anchor="created_at", unit="seconds", least=least, most=most)


def detect_type(content: BinaryIO, name: str) -> str:
    """Return the media type by the first bytes and the name, and rewind `content`.

    Raises:
        InvalidInput: the file is empty.
    """
    head = content.read(SNIFF_BYTES)
    content.seek(0)
    if not head:
        raise InvalidInput("The file is empty.", param="file")
    return detect_media_type(head, name)
