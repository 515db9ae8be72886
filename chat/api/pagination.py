"""Keyset pagination with `limit`, `order`, `after` and `before`: no OFFSET, no counting."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from chat.actions.fields import get_row
from chat.api.fields import Choice, Input, StrictInteger, Text
from chat.errors import InvalidInput
from chat.storable_text import is_storable
from tenants.compiled_queries import CompiledQuery

MAX_LIMIT = 100
CURSORS = ("after", "before")
_DIGITS = re.compile(r"-?[0-9]{1,9}\Z")


class QueryNumber(StrictInteger):
    """Integer query parameter."""

    def to_internal_value(self, data: Any) -> int:
        """Return the integer; reject any other text."""
        return super().to_internal_value(int(data) if _DIGITS.match(data) else data)


class PageQuery(Input):
    """Query parameters of every list; subclasses add filters."""

    limit = QueryNumber(default=20, min_value=1, max_value=MAX_LIMIT)
    order = Choice(default="desc", choices=["asc", "desc"])
    after = Text(required=False)
    before = Text(required=False)


def parse_query(request: HttpRequest) -> dict[str, str]:
    """Return the query parameters by name.

    Raises:
        InvalidInput: a parameter is repeated or contains characters that are not allowed.
    """
    for name, values in request.GET.lists():
        if len(values) > 1:
            raise InvalidInput(f"Parameter given more than once: '{name[:200]}'.", param=name)
        text = name + values[0]
        # Django decodes bytes that are not UTF-8 to U+FFFD.
        if not is_storable(text) or "\N{REPLACEMENT CHARACTER}" in text:
            raise InvalidInput("A query parameter is not valid UTF-8.")
    return {name: str(value) for name, value in request.GET.items()}


class PaginatedQuery:
    """Decorator of the function that builds the rows of a frequently requested list.

    The SQL of its pages is compiled once (see `tenants.compiled_queries`) for each limit and
    order, with and without cursors.
    """

    def __init__(self, rows: Callable[..., QuerySet[Any]]) -> None:
        self.rows = rows
        self.pages = CompiledQuery(self._build_page_rows)

    def bind(self, **values: Any) -> PreparedPage:
        """Return the list for these values, for use with `read_page`."""
        return PreparedPage(listed=self, values=values)

    def _build_page_rows(self, *shape: Any, **given: Any) -> QuerySet[Any]:
        places = {name: given.pop(name) for name in list(given) if name.startswith(CURSORS)}
        return _build_page(self.rows(**given), *shape, **places)


@dataclass(frozen=True, kw_only=True)
class PreparedPage:
    """A paginated query bound to its values."""

    listed: PaginatedQuery
    values: dict[str, Any]


Rows = QuerySet[Any] | PreparedPage


def read_page(
    rows: Rows, *, query: dict[str, Any], prefix: str, by: Sequence[str], key: str = "pk"
) -> tuple[list[Any], bool]:
    """Return a page of `rows` in the requested order, and whether there are more.

    `by` are the ordering columns, which together must be unique; `prefix` is the prefix of
    the rows' IDs, which are in the column `key`. `after` and `before` are IDs among `rows`;
    with `before` alone, the page ends just before that row. Must run in the tenant's scope
    and a transaction.

    Raises:
        InvalidInput: a cursor has another prefix.
        NotFound: a cursor is unknown or not among `rows`.
    """
    descending = query["order"] == "desc"
    places: dict[str, Any] = {}
    for name in CURSORS:
        if query.get(name):
            among = rows.listed.rows(**rows.values) if isinstance(rows, PreparedPage) else rows
            place = _get_position(among, query[name], param=name, prefix=prefix, by=by, key=key)
            places |= {f"{name}_{column}": value for column, value in zip(by, place, strict=True)}
    backwards = bool(query.get("before")) and not query.get("after")
    shape = tuple(by), descending, backwards, query["limit"] + 1
    if isinstance(rows, PreparedPage):
        found = rows.listed.pages.read(*shape, **places, **rows.values)
    else:
        found = list(_build_page(rows, *shape, **places))
    page = found[: query["limit"]]
    return page[::-1] if backwards else page, len(found) > query["limit"]


def _build_page(
    rows: QuerySet[Any],
    by: Sequence[str],
    descending: bool,
    backwards: bool,
    most: int,
    **places: Any,
) -> QuerySet[Any]:
    """Return at most `most` rows in order, after the place "after" and before "before"."""
    for name in CURSORS:
        place = [places[f"{name}_{column}"] for column in by if f"{name}_{column}" in places]
        if place:
            rows = rows.filter(_build_bound(by, place, less=descending == (name == "after")))
    sign = "-" if descending != backwards else ""
    return rows.order_by(*(sign + column for column in by))[:most]


def _get_position(
    rows: QuerySet[Any], cursor: str, *, param: str, prefix: str, by: Sequence[str], key: str
) -> tuple[Any, ...]:
    return get_row(rows.values_list(*by), cursor, param=param, prefix=prefix, key=key)


def _build_bound(by: Sequence[str], place: Sequence[Any], *, less: bool) -> Q:
    side = "lt" if less else "gt"
    first, *rest = by
    if not rest:
        return Q(**{f"{first}__{side}": place[0]})
    # The bound on the first column alone makes the condition usable with an index.
    inner = Q(**{f"{first}__{side}": place[0]}) | (
        Q(**{first: place[0]}) & _build_bound(rest, place[1:], less=less)
    )
    return Q(**{f"{first}__{side}e": place[0]}) & inner
