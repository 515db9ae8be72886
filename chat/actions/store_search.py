"""Search a vector store for who asks over the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from chat.actions.fields import clean_list, clean_text
from chat.actions.stores import own_store
from chat.errors import InvalidInput, StoreExpired, Unavailable
from chat.models import IndexStatus, StoreFile, VectorStore
from chat.retrieval.embed import embedder
from chat.retrieval.filters import condition_of
from chat.retrieval.search import Found, Question, ask, search
from chat.upstream.errors import UpstreamError
from tenants.access import Principal
from tenants.scope import tenant_scope

MOST_QUESTIONS, QUESTION_CHARACTERS = 10, 4096


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was searched for, and the passages found, best first."""

    questions: list[str]
    found: list[Found]


def search_store(
    principal: Principal,
    store_id: str,
    *,
    query: Any,
    most: int,
    threshold: float = 0.0,
    filters: Any = None,
) -> Results:
    """Search a store of the principal's for one question or several together.

    Raises:
        NotFound: for an unknown store.
        StoreExpired, InvalidInput: as they say.
        Unavailable: while the embedder's server is away.
    """
    questions = _questions(query)
    condition = condition_of(filters) if filters is not None else None
    asked = _asked(questions)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        store = own_store(principal, store_id)
        if store.is_expired:
            raise StoreExpired()
        files = None
        if condition is not None:
            rows = StoreFile.objects.filter(condition, store=store, status=IndexStatus.COMPLETED)
            files = list(rows.values_list("pk", flat=True))
        found = search([store], asked, most=most, threshold=threshold, files=files)
        VectorStore.objects.filter(pk=store.pk).update(last_active_at=timezone.now())
    return Results(questions=questions, found=found)


def _questions(value: Any) -> list[str]:
    one = isinstance(value, str)
    given = [value] if one else clean_list(value, param="query", limit=MOST_QUESTIONS)
    if not given:
        raise InvalidInput("Expected at least one question.", param="query")
    return [
        clean_text(text, param="query", limit=QUESTION_CHARACTERS, required=True) for text in given
    ]


def _asked(questions: list[str]) -> list[Question]:
    async def all_of_them() -> list[Question]:
        return [await ask(text, embedder()) for text in questions]

    try:
        return async_to_sync(all_of_them)()
    except UpstreamError:
        raise Unavailable() from None
