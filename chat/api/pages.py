"""Lists: `limit`, `order`, `after`, `before`; by keyset, without OFFSET and without counting."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from chat.actions.fields import row_named
from chat.api.fields import Choice, Input, StrictInteger, Text
from chat.errors import InvalidInput
from tenants.compiled_queries import CompiledQuery

MOST = 100
CURSORS = ("after", "before")
_DIGITS = re.compile(r"-?[0-9]{1,9}\Z")
_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff\ufffd]")


class QueryNumber(StrictInteger):
    """A whole number as a query parameter spells it."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse everything else."""
        return super().to_internal_value(int(data) if _DIGITS.match(data) else data)


class PageQuery(Input):
    """What every list takes; subclasses add filters."""

    limit = QueryNumber(default=20, min_value=1, max_value=MOST)
    order = Choice(default="desc", choices=["asc", "desc"])
    after = Text(required=False)
    before = Text(required=False)


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


class PaginatedQuery:
    """Decorates what builds the rows of a list that is often asked for.

    The SQL of its pages is compiled once (see `tenants.compiled_queries`) for each limit and
    order, with and without cursors.
    """

    def __init__(self, rows: Callable[..., QuerySet[Any]]) -> None:
        self.rows = rows
        self.pages = CompiledQuery(self._page)

    def of(self, **values: Any) -> PreparedPage:
        """Return the list for these values, as `read_page` takes it."""
        return PreparedPage(listed=self, values=values)

    def _page(self, *shape: Any, **given: Any) -> QuerySet[Any]:
        places = {name: given.pop(name) for name in list(given) if name.startswith(CURSORS)}
        return _page_of(self.rows(**given), *shape, **places)


@dataclass(frozen=True, kw_only=True)
class PreparedPage:
    """A list for certain values."""

    listed: PaginatedQuery
    values: dict[str, Any]


Rows = QuerySet[Any] | PreparedPage


def read_page(
    rows: Rows, *, query: dict[str, Any], prefix: str, by: Sequence[str], key: str = "pk"
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
    places: dict[str, Any] = {}
    for name in CURSORS:
        if query.get(name):
            among = rows.listed.rows(**rows.values) if isinstance(rows, PreparedPage) else rows
            place = _place(among, query[name], param=name, prefix=prefix, by=by, key=key)
            places |= {f"{name}_{column}": value for column, value in zip(by, place, strict=True)}
    backwards = bool(query.get("before")) and not query.get("after")
    shape = tuple(by), descending, backwards, query["limit"] + 1
    if isinstance(rows, PreparedPage):
        found = rows.listed.pages.read(*shape, **places, **rows.values)
    else:
        found = list(_page_of(rows, *shape, **places))
    page = found[: query["limit"]]
    return page[::-1] if backwards else page, len(found) > query["limit"]


def _page_of(
    rows: QuerySet[Any],
    by: Sequence[str],
    descending: bool,
    backwards: bool,
    most: int,
    **places: Any,
) -> QuerySet[Any]:
    """Return `most` rows in their order, behind the place "after" and ahead of "before"."""
    for name in CURSORS:
        place = [places[f"{name}_{column}"] for column in by if f"{name}_{column}" in places]
        if place:
            rows = rows.filter(_beyond(by, place, less=descending == (name == "after")))
    sign = "-" if descending != backwards else ""
    return rows.order_by(*(sign + column for column in by))[:most]


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
