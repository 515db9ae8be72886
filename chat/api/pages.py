"""Lists: `limit`, `order`, `after`, `before`; by keyset, without OFFSET and without counting."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from chat.actions.fields import row_named
from chat.api.fields import Choice, Input, Text, WholeNumber
from chat.errors import InvalidInput

MOST = 100
_DIGITS = re.compile(r"-?[0-9]{1,9}\Z")
_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff\ufffd]")


class QueryNumber(WholeNumber):
    """A whole number as a query parameter spells it."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse everything else."""
        return super().to_internal_value(int(data) if _DIGITS.match(data) else data)


class PageQuery(Input):
    """What every list takes; subclasses add filters."""

    limit = QueryNumber(
        default=20, min_value=1, max_value=MOST, help_text="How many objects, 1 to 100."
    )
    order = Choice(
        default="desc", choices=["asc", "desc"], help_text="By creation: oldest or newest first."
    )
    after = Text(required=False, help_text="The id behind which the page begins.")
    before = Text(required=False, help_text="The id ahead of which the page ends.")


def query_values(request: HttpRequest) -> dict[str, str]:
    """Return the query parameters by name.

    Raises:
        InvalidInput: for one that is repeated or holds what no text can.
    """
    for name, values in request.GET.lists():
        if len(values) > 1:
            raise InvalidInput(f"Parameter given more than once: '{name[:200]}'.", param=name)
        if _NUL_OR_SURROGATE.search(name + values[0]):
            raise InvalidInput("A query parameter is not valid UTF-8.")
    return {name: str(value) for name, value in request.GET.items()}


def read_page(
    rows: QuerySet[Any], *, query: dict[str, Any], prefix: str, by: Sequence[str], key: str = "pk"
) -> tuple[list[Any], bool]:
    """Return a page of `rows` in the order asked for, and whether there is more.

    `by` are the columns of the order, which must name a row together; `prefix`
    is that of the rows' ids, which are in the column `key`. `after` and
    `before` are ids among `rows`; with `before` alone the page is the one that
    ends there. Must run in the tenant's scope and a transaction.

    Raises:
        InvalidInput: for a cursor with another prefix.
        NotFound: for one that is unknown, or somebody else's.
    """
    descending = query["order"] == "desc"
    bounds = Q()
    for name, beyond in (("after", True), ("before", False)):
        if query.get(name):
            place = _place(rows, query[name], param=name, prefix=prefix, by=by, key=key)
            bounds &= _beyond(by, place, less=descending == beyond)
    backwards = bool(query.get("before")) and not query.get("after")
    sign = "-" if descending != backwards else ""
    found = list(
        rows.filter(bounds).order_by(*(sign + column for column in by))[: query["limit"] + 1]
    )
    page = found[: query["limit"]]
    return page[::-1] if backwards else page, len(found) > query["limit"]


def _place(
    rows: QuerySet[Any], cursor: str, *, param: str, prefix: str, by: Sequence[str], key: str
) -> tuple[Any, ...]:
    return row_named(rows.values_list(*by), cursor, param=param, prefix=prefix, key=key)


def _beyond(by: Sequence[str], place: Sequence[Any], *, less: bool) -> Q:
    side = "lt" if less else "gt"
    first, *rest = by
    if not rest:
        return Q(**{f"{first}__{side}": place[0]})
    # The bound on the first column alone is what an index is entered with.
    inner = Q(**{f"{first}__{side}": place[0]}) | (
        Q(**{first: place[0]}) & _beyond(rest, place[1:], less=less)
    )
    return Q(**{f"{first}__{side}e": place[0]}) & inner
