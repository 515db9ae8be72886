"""Check that every citation left in the database by a test is valid, before cleaning it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.database import TestDatabase

CITING_MESSAGES = """
SELECT id, content FROM chat_message
WHERE jsonb_path_exists(content, '$[*].text.annotations[*] ? (@.type == "file_citation")')
"""
SOURCE = "SELECT file_id, text FROM chat_storefile WHERE id = %s"
SEARCH_RESULTS = "SELECT details -> 'results' FROM chat_toolcall WHERE details @> %s::jsonb"


def check_citations(database: TestDatabase) -> None:
    """Compare each citation with its message and with the text of its source.

    If the source has been deleted since, its search results are used instead.

    Raises:
        AssertionError: a citation is invalid; only the first one is reported.
    """
    for message, content in database.owner.execute(CITING_MESSAGES).fetchall():
        for part in content:
            text: dict[str, Any] = part.get("text") or {}
            for annotation in text.get("annotations", []):
                if annotation["type"] == "file_citation":
                    _check(database, f"{message}: {annotation}", text["value"], annotation)


def _check(database: TestDatabase, which: str, value: str, citation: dict[str, Any]) -> None:
    place, source = citation["atrium"], citation["file_citation"]
    mark = value[citation["start_index"] : citation["end_index"]]
    assert mark == citation["text"], f"No mark {mark!r} in {which}"
    assert source["quote"], f"Nothing quoted in {which}"
    quotes = list(_texts_at(database, place))
    assert quotes, f"No source of {which}"
    assert (source["file_id"], source["quote"]) in quotes, f"Misquoted in {which}"


def _texts_at(database: TestDatabase, place: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the file id and the text of the cited passage."""
    start, end = place["start"], place["end"]
    row = database.owner.execute(SOURCE, [place["store_file"]]).fetchone()
    if row is not None:
        yield row[0], row[1][start:end]
        return
    wanted = json.dumps({"results": [{"store_file": place["store_file"]}]})
    for (results,) in database.owner.execute(SEARCH_RESULTS, [wanted]).fetchall():
        for result in results:
            if result["start"] <= start and end <= result["end"]:
                yield (
                    result["file_id"],
                    result["text"][start - result["start"] : end - result["start"]],
                )
