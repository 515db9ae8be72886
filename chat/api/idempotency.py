"""Nothing is done twice: a repeated POST gets the answer that the first one got.

A request counts as repeated by its `Idempotency-Key`, for a day; or as what an
official client sends again by itself after a failure: the same bytes, shortly
after, counted in `x-stainless-retry-count`. The record is committed with what was
done, and a repeat waits for an original under way. It is kept as long as it may
answer, and goes with what it speaks of.

People say the same twice, so a first attempt that fails makes the answers before
it void: what the client sends again then is this request, not an earlier one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponseBase
from rest_framework.response import Response

from chat.api.events import Place
from chat.api.streams import Beginning, EventStream, check_room
from chat.errors import ChatError, InvalidInput
from chat.models import IdempotencyRecord
from chat.models.idempotency import KEPT
from tenants import clock
from tenants.authentication import Principal

KEY_HEADER, RETRY_HEADER = "Idempotency-Key", "x-stainless-retry-count"
# The clients wait 8 seconds at most before an attempt, or as told; longer than a minute never.
RETRIED_WITHIN = timedelta(seconds=60)
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
_COUNT = re.compile(r"[0-9]{1,3}\Z")

Post = Callable[..., HttpResponseBase]


class KeyReused(ChatError):
    """This Idempotency-Key was used for another request: choose a new one."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a request's answer is kept. `lasts` is how long it answers repeats.

    A first attempt that a client counts is written to its slot, never answered from it.
    """

    name: str
    body_hash: str
    lasts: timedelta
    answers: bool


def once(post: Post) -> Post:
    """Let a view's POST be carried out once for each request that names itself."""

    @wraps(post)
    def run_once(view: Any, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        slot = slot_of(
            view.principal, request._request, view.body_digest, counted=view.guards_retries
        )
        if slot is None:
            return post(view, request, *args, **kwargs)
        with transaction.atomic():
            _lock(slot)
            earlier = _earlier(slot) if slot.answers else None
            if earlier is not None:
                return _again(view, earlier)
            response = post(view, request, *args, **kwargs)
            _keep(slot, response)
            return response

    return run_once


def is_repeat(request: HttpRequest) -> bool:
    """Tell whether an earlier request may have carried this one out."""
    count = request.headers.get(RETRY_HEADER, "")
    return KEY_HEADER in request.headers or (bool(_COUNT.match(count)) and int(count) > 0)


def find_answer(view: Any) -> HttpResponseBase | None:
    """Return the answer to what this request repeats, None where it repeats nothing.

    For views that refuse a repeat ahead of `once`, for what the original did: it took the
    room that is left, or ended the upload.
    """
    slot = slot_of(view.principal, view.request._request, view.body_digest, counted=True)
    if slot is None or not slot.answers:
        return None
    with transaction.atomic():
        _lock(slot)
        earlier = _earlier(slot)
        return None if earlier is None else _again(view, earlier)


def slot_of(
    principal: Principal, request: HttpRequest, digest: Callable[[], str], *, counted: bool
) -> Slot | None:
    """Return where the answer to this request is kept, None when it does not name itself.

    `digest` tells the body from others.

    Raises:
        InvalidInput: for a key that is none.
    """
    assert principal.key is not None
    asker = [str(principal.key.pk), str(principal.membership_id)]
    key = request.headers.get(KEY_HEADER)
    if key is not None:
        if not _KEY.match(key):
            raise InvalidInput(f"{KEY_HEADER} has 1 to 255 visible characters.")
        name = _digest("key", *asker, request.path, key)
        body_hash = _digest(request.get_full_path(), digest())
        return Slot(name=name, body_hash=body_hash, lasts=KEPT, answers=True)
    count = request.headers.get(RETRY_HEADER, "")
    if not counted or not _COUNT.match(count):
        return None
    body_hash = _digest(request.get_full_path(), digest())
    return Slot(
        name=_digest("retry", *asker, body_hash),
        body_hash=body_hash,
        lasts=RETRIED_WITHIN,
        answers=int(count) > 0,
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _lock(slot: Slot) -> None:
    """Wait for whoever is at the same request, until the end of this transaction."""
    number = int.from_bytes(bytes.fromhex(slot.name[:16]), signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _earlier(slot: Slot) -> IdempotencyRecord | None:
    records = IdempotencyRecord.objects.all().kept()
    record: IdempotencyRecord | None = records.filter(slot=slot.name).first()
    if record is not None and record.body_hash != slot.body_hash:
        raise KeyReused()
    return record


def forget_earlier(principal: Principal, request: HttpRequest, digest: Callable[[], str]) -> None:
    """Let the retries of a first attempt that failed find no other request's answer."""
    if KEY_HEADER in request.headers:
        return
    slot = slot_of(principal, request, digest, counted=True)
    if slot is not None and not slot.answers:
        with transaction.atomic():
            _lock(slot)
            IdempotencyRecord.objects.filter(slot=slot.name).delete()


def _keep(slot: Slot, response: HttpResponseBase) -> None:
    answer: dict[str, Any]
    if isinstance(response, EventStream):
        begun = response.beginning
        subject = begun.run["thread_id"]
        answer = {
            "run": begun.run,
            "thread": begun.thread,
            "at": list(begun.at),
            "prelude": list(begun.prelude),
            "since": begun.since,
            "with_content": begun.with_content,
            "with_ids": begun.with_ids,
        }
    else:
        assert isinstance(response, Response)
        answer = {"status": response.status_code, "body": response.data}
        if "ETag" in response:
            answer["etag"] = response["ETag"]
        subject = response.data.get("thread_id") or response.data.get("id", "")
    now = clock.now()
    record = IdempotencyRecord(
        slot=slot.name,
        body_hash=slot.body_hash,
        answer=answer,
        subject=subject,
        created_at=now,
        expires_at=now + slot.lasts,
    )
    IdempotencyRecord.objects.bulk_create(
        [record],
        update_conflicts=True,
        unique_fields=["tenant", "slot"],
        update_fields=["body_hash", "answer", "subject", "created_at", "expires_at"],
    )


def _again(view: Any, record: IdempotencyRecord) -> HttpResponseBase:
    kept = record.answer
    if "run" not in kept:
        headers = {"ETag": kept["etag"]} if "etag" in kept else None
        return Response(kept["body"], status=kept["status"], headers=headers)
    check_room(view.principal)
    beginning = Beginning(
        run=kept["run"],
        thread=kept["thread"],
        at=Place(*kept["at"]),
        prelude=tuple(kept["prelude"]),
        since=kept["since"],
        with_content=kept.get("with_content", False),
        with_ids=kept.get("with_ids", False),
    )
    return EventStream(view.principal, beginning)
