"""Search a vector store over the API."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from chat.actions.fields import clean_list, clean_text
from chat.actions.vector_stores.manage import get_live_store
from chat.errors import InvalidInput, Unavailable
from chat.models import IndexStatus, StoreFile, VectorStore
from chat.retrieval.embed import get_embedder
from chat.retrieval.filters import build_condition
from chat.retrieval.search import PassageMatch, embed_query, search
from chat.upstream.errors import UpstreamError
from tenants.authentication import Principal
from tenants.scope import tenant_scope

MAX_QUERIES, MAX_QUERY_CHARACTERS = 10, 4096


@dataclass(frozen=True, kw_only=True)
class SearchResults:
    """Search queries and the passages found, best first."""

    questions: list[str]
    found: list[PassageMatch]


def search_store(
    principal: Principal,
    store_id: str,
    *,
    query: Any,
    most: int,
    threshold: float = 0.0,
    filters: Any = None,
) -> SearchResults:
    """Search one of the principal's stores with one or several queries at once.

    Raises:
        NotFound: the store does not exist.
        StoreExpired: the store has expired.
        InvalidInput: the query or the filters are invalid.
        Unavailable: the embedding server cannot be reached.
    """
    questions = _clean_queries(query)
    condition = build_condition(filters) if filters is not None else None
    with tenant_scope(principal.tenant_id):
        with transaction.atomic():
            store = get_live_store(principal, store_id)
            files = None
            if condition is not None:
                rows = StoreFile.objects.filter(
                    condition, store=store, status=IndexStatus.COMPLETED
                )
                files = list(rows.values_list("pk", flat=True))
        try:
            found = async_to_sync(search)(
                [store],
                questions,
                asking=partial(embed_query, embedder=get_embedder()),
                most=most,
                threshold=threshold,
                files=files,
            )
        except UpstreamError:
            raise Unavailable() from None
        with transaction.atomic():
            get_live_store(principal, store_id)
            VectorStore.objects.filter(pk=store.pk).update(last_active_at=timezone.now())
    return SearchResults(questions=questions, found=found)


def _clean_queries(value: Any) -> list[str]:
    single = isinstance(value, str)
    given = [value] if single else clean_list(value, param="query", limit=MAX_QUERIES)
    if not given:
        raise InvalidInput("Expected at least one query.", param="query")
    return [
        clean_text(text, param="query", limit=MAX_QUERY_CHARACTERS, required=True) for text in given
    ]
