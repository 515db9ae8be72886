"""Persistent state of code sessions, loaded before a call and stored when the call ends.

A call that is repeated after a crash starts from the state before it, and so does the call after
a stopped call.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO

from chat import storage
from chat.conf import conf
from chat.errors import StorageFull, Unavailable
from chat.models import CodeSession, File, Thread
from chat.models.files import Purpose
from chat.sandbox.base import SavedSession
from tenants import clock


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """The stored state that a call starts from. `state` is empty if there is none."""

    state: str = ""
    backend: str = ""
    storage_key: str = ""
    lost: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NewState:
    """The state after a call. `file` has its bytes, or is None if they could not be saved."""

    backend: str
    file: File | None
    lost: tuple[str, ...]
    inputs: dict[str, str]
    state: str = field(default_factory=lambda: secrets.token_hex(16))


def load_state(thread_id: str) -> SavedState:
    """Return the thread's stored state. Call within the tenant's scope and a transaction."""
    row = CodeSession.objects.unexpired().filter(thread_id=thread_id).first()
    if row is None:
        return SavedState()
    return SavedState(
        state=row.state,
        backend=row.backend,
        storage_key=row.storage_key,
        lost=tuple(row.lost),
        inputs=row.inputs,
    )


def read(key: str) -> bytes | None:
    """Return the bytes of a state, or None if they no longer exist."""
    try:
        return storage.read_content(key)
    except FileNotFoundError:
        return None


def write(thread: Thread, saved: SavedSession) -> File | None:
    """Store the bytes of a state for `settle`; return None if the storage is unavailable.

    Opens its own transactions.
    """
    row = File(
        tenant_id=thread.tenant_id,
        purpose=Purpose.ASSISTANTS_OUTPUT,
        filename="state",
        media_type="application/octet-stream",
    )
    try:
        storage.write_new(row, BytesIO(saved.data), most=len(saved.data))
    except Unavailable:
        return None
    return row


@dataclass(frozen=True, kw_only=True)
class PendingSave:
    """The locked row of a thread's session, and whether a new session begins."""

    row: CodeSession
    new: bool


def begin_settling(thread: Thread, after: NewState | None) -> PendingSave:
    """Lock the thread's session row and release the bytes that `after` replaces.

    Call within the tenant's scope and the transaction that ends the call, before any bytes are
    counted against the quota; call `settle` in the same transaction.
    """
    row = CodeSession.objects.select_for_update().filter(thread=thread).first()
    if row is None:
        return PendingSave(row=CodeSession(thread=thread, member_id=thread.member_id), new=True)
    new = row.expires_at <= clock.now()
    if new or after is not None:
        forget_bytes(row)
    return PendingSave(row=row, new=new)


def settle(settling: PendingSave, after: NewState | None) -> bool:
    """Store `after` as the thread's state (None keeps the previous state) and renew its expiry.

    Return True if there are stored bytes.
    """
    row, now = settling.row, clock.now()
    if after is not None:
        row.state, row.backend = after.state, after.backend
        row.lost, row.inputs = list(after.lost), after.inputs
        _claim(row, after.file)
    elif settling.new:
        row.state, row.backend, row.lost, row.inputs = secrets.token_hex(16), "", [], {}
    if settling.new:
        row.created_at = now
    row.expires_at = now + timedelta(seconds=conf.code_session_seconds)
    row.save()
    return bool(row.storage_key)


def _claim(row: CodeSession, file: File | None) -> None:
    if file is None:
        return
    try:
        storage.transfer_bytes(file)
    except StorageFull:
        storage.discard_in_transaction(file)
    else:
        row.storage_key, row.bytes = file.storage_key, file.bytes


def forget_bytes(row: CodeSession) -> None:
    """Release a state's bytes. The caller saves or deletes the row in the same transaction."""
    if row.storage_key:
        storage.release_bytes(row.storage_key, size=row.bytes)
    row.storage_key, row.bytes = "", 0


def forget(thread_id: str) -> None:
    """Delete a thread's state. Call within the tenant's scope and a transaction."""
    for row in CodeSession.objects.select_for_update().filter(thread_id=thread_id):
        forget_bytes(row)
        row.delete()


def forget_expired(session_id: int) -> None:
    """Delete a state if it has expired. Call within the tenant's scope and a transaction."""
    rows = CodeSession.objects.select_for_update().filter(expires_at__lt=clock.now())
    for row in rows.filter(pk=session_id):
        forget_bytes(row)
        row.delete()
