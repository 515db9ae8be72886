"""Idempotency keys: replay the stored response of a repeated POST.

A request is a repeat if it has the `Idempotency-Key` of an earlier request, for a day; or if it
is an automatic retry of an official client after a failure: the same bytes, shortly after,
counted in `x-stainless-retry-count`. The record is committed together with the changes of the
request, and a repeat waits for an original in progress. A record is stored for as long as it
may be replayed, and deleted together with its subject.

People send the same text twice. A first attempt that fails therefore invalidates earlier
answers to the same bytes: the client's retries repeat this request, not an earlier one.
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

from chat.api.events import EventId
from chat.api.streams import EventStream, StreamStart, check_stream_limit
from chat.errors import ChatError, InvalidInput
from chat.models import IdempotencyRecord
from chat.models.idempotency import RETENTION
from tenants import clock
from tenants.authentication import Principal

KEY_HEADER, RETRY_HEADER = "Idempotency-Key", "x-stainless-retry-count"
# Clients wait up to 8 seconds before a retry, or Retry-After, but never more than a minute.
RETRIED_WITHIN = timedelta(seconds=60)
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
_COUNT = re.compile(r"[0-9]{1,3}\Z")

PostMethod = Callable[..., HttpResponseBase]


class KeyReused(ChatError):
    """This Idempotency-Key was already used for a different request. Use a new key."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a request's answer is stored, and for how long it answers repeats (`lasts`).

    A first attempt that a client counts is stored in its slot, but never answered from it.
    """

    name: str
    body_hash: str
    lasts: timedelta
    answers: bool


def once(post: PostMethod) -> PostMethod:
    """Wrap a view's POST so that an identified request is executed only once."""

    @wraps(post)
    def run_once(view: Any, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        slot = get_slot(
            view.principal, request._request, view.body_digest, counted=view.guards_retries
        )
        if slot is None:
            return post(view, request, *args, **kwargs)
        with transaction.atomic():
            _lock(slot)
            earlier = _find_record(slot) if slot.answers else None
            if earlier is not None:
                return _replay(view, earlier)
            response = post(view, request, *args, **kwargs)
            _store_response(slot, response)
            return response

    return run_once


def is_repeat(request: HttpRequest) -> bool:
    """Return True if an earlier request may have executed this one."""
    count = request.headers.get(RETRY_HEADER, "")
    return KEY_HEADER in request.headers or (bool(_COUNT.match(count)) and int(count) > 0)


def find_answer(view: Any) -> HttpResponseBase | None:
    """Return the stored answer to a repeated request, or None if it is not a repeat.

    For views that refuse a repeat before `once` because of what the original did: it used the
    remaining storage, or ended the upload.
    """
    slot = get_slot(view.principal, view.request._request, view.body_digest, counted=True)
    if slot is None or not slot.answers:
        return None
    with transaction.atomic():
        _lock(slot)
        earlier = _find_record(slot)
        return None if earlier is None else _replay(view, earlier)


def get_slot(
    principal: Principal, request: HttpRequest, digest: Callable[[], str], *, counted: bool
) -> Slot | None:
    """Return the slot of this request's answer, or None if the request is not identified.

    `digest` returns a text that distinguishes the body from others.

    Raises:
        InvalidInput: the Idempotency-Key is malformed.
    """
    assert principal.key is not None
    asker = [str(principal.key.pk), str(principal.membership_id)]
    key = request.headers.get(KEY_HEADER)
    if key is not None:
        if not _KEY.match(key):
            raise InvalidInput(f"{KEY_HEADER} must have 1 to 255 visible ASCII characters.")
        name = _hash("key", *asker, request.path, key)
        body_hash = _hash(request.get_full_path(), digest())
        return Slot(name=name, body_hash=body_hash, lasts=RETENTION, answers=True)
    count = request.headers.get(RETRY_HEADER, "")
    if not counted or not _COUNT.match(count):
        return None
    body_hash = _hash(request.get_full_path(), digest())
    return Slot(
        name=_hash("retry", *asker, body_hash),
        body_hash=body_hash,
        lasts=RETRIED_WITHIN,
        answers=int(count) > 0,
    )


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _lock(slot: Slot) -> None:
    """Wait for a concurrent request of the same slot; hold the lock until the transaction ends."""
    number = int.from_bytes(bytes.fromhex(slot.name[:16]), signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _find_record(slot: Slot) -> IdempotencyRecord | None:
    records = IdempotencyRecord.objects.all().unexpired()
    record: IdempotencyRecord | None = records.filter(slot=slot.name).first()
    if record is not None and record.body_hash != slot.body_hash:
        raise KeyReused()
    return record


def delete_earlier_record(
    principal: Principal, request: HttpRequest, digest: Callable[[], str]
) -> None:
    """Delete the earlier answer that retries of a failed first attempt would receive."""
    if KEY_HEADER in request.headers:
        return
    slot = get_slot(principal, request, digest, counted=True)
    if slot is not None and not slot.answers:
        with transaction.atomic():
            _lock(slot)
            IdempotencyRecord.objects.filter(slot=slot.name).delete()


def _store_response(slot: Slot, response: HttpResponseBase) -> None:
    answer: dict[str, Any]
    if isinstance(response, EventStream):
        start = response.start
        subject = start.run["thread_id"]
        answer = {
            "run": start.run,
            "thread": start.thread,
            "at": list(start.at),
            "prelude": list(start.prelude),
            "since": start.since,
            "with_content": start.with_content,
            "with_ids": start.with_ids,
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


def _replay(view: Any, record: IdempotencyRecord) -> HttpResponseBase:
    answer = record.answer
    if "run" not in answer:
        headers = {"ETag": answer["etag"]} if "etag" in answer else None
        return Response(answer["body"], status=answer["status"], headers=headers)
    check_stream_limit(view.principal)
    beginning = StreamStart(
        run=answer["run"],
        thread=answer["thread"],
        at=EventId(*answer["at"]),
        prelude=tuple(answer["prelude"]),
        since=answer["since"],
        with_content=answer.get("with_content", False),
        with_ids=answer.get("with_ids", False),
    )
    return EventStream(view.principal, beginning)
