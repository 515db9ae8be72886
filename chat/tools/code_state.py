"""What code left behind, from one run of it to the next: read before, stored with the call's end.

A call that is repeated after a crash begins with the state before it, as does one after a call
that was stopped.
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
    """The state that code begins with: a stored one, or none (`state` is empty)."""

    state: str = ""
    backend: str = ""
    storage_key: str = ""
    lost: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NewState:
    """The state that code left: `file` has its bytes, None where they could not be kept."""

    backend: str
    file: File | None
    lost: tuple[str, ...]
    inputs: dict[str, str]
    state: str = field(default_factory=lambda: secrets.token_hex(16))


def before(thread_id: str) -> SavedState:
    """Return where a thread's code is; must run in the tenant's scope and a transaction."""
    row = CodeSession.objects.lasting().filter(thread_id=thread_id).first()
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
    """Return the bytes of a state, None where they are gone."""
    try:
        return storage.contents(key)
    except FileNotFoundError:
        return None


def write(thread: Thread, saved: SavedSession) -> File | None:
    """Store the bytes of a state for `settle`, None where the storage takes nothing.

    Opens transactions itself.
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
    """A thread's session, locked, and whether a new one begins now."""

    row: CodeSession
    new: bool


def begin_settling(thread: Thread, after: NewState | None) -> PendingSave:
    """Lock the thread's session, and let the bytes go that `after` takes the place of.

    Run it in the tenant's scope and the transaction that ends the call, before
    any bytes are counted; `settle` in the same.
    """
    row = CodeSession.objects.select_for_update().filter(thread=thread).first()
    if row is None:
        return PendingSave(row=CodeSession(thread=thread, member_id=thread.member_id), new=True)
    new = row.expires_at <= clock.now()
    if new or after is not None:
        forget_bytes(row)
    return PendingSave(row=row, new=new)


def settle(settling: PendingSave, after: NewState | None) -> bool:
    """Make `after` the thread's state, None keeps the one before; it lasts anew from now.

    Returns whether the bytes are kept.
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
        storage.claim_bytes(file)
    except StorageFull:
        storage.drop(file)
    else:
        row.storage_key, row.bytes = file.storage_key, file.bytes


def forget_bytes(row: CodeSession) -> None:
    """Let a state's bytes go; the caller saves or deletes the row, in the same transaction."""
    if row.storage_key:
        storage.let_go(row.storage_key, size=row.bytes)
    row.storage_key, row.bytes = "", 0


def forget(thread_id: str) -> None:
    """Erase what a thread's code left; in the tenant's scope and a transaction."""
    for row in CodeSession.objects.select_for_update().filter(thread_id=thread_id):
        forget_bytes(row)
        row.delete()


def forget_lapsed(session_id: int) -> None:
    """Erase a state that nobody goes on with; in the tenant's scope and a transaction."""
    rows = CodeSession.objects.select_for_update().filter(expires_at__lt=clock.now())
    for row in rows.filter(pk=session_id):
        forget_bytes(row)
        row.delete()
