"""Every citation that a test leaves in the database holds: looked at before it is cleaned."""

from __future__ import annotations

from typing import Any

from tests.database import TestDatabase

CITING = """
SELECT id, content FROM chat_message
WHERE jsonb_path_exists(content, '$[*].text.annotations[*] ? (@.type == "file_citation")')
"""
SOURCE = "SELECT file_id, text FROM chat_storefile WHERE id = %s"


def check_citations(database: TestDatabase) -> None:
    """Compare each citation with its message and with the text of its source.

    Raises:
        AssertionError: for the first that does not hold.
    """
    for message, content in database.owner.execute(CITING).fetchall():
        for part in content:
            text: dict[str, Any] = part.get("text") or {}
            for annotation in text.get("annotations", []):
                if annotation["type"] == "file_citation":
                    _check(database, message, text["value"], annotation)


def _check(database: TestDatabase, message: str, value: str, citation: dict[str, Any]) -> None:
    place, source = citation["atrium"], citation["file_citation"]
    mark = value[citation["start_index"] : citation["end_index"]]
    assert mark == citation["text"], f"{message}: {mark!r} is no mark of {citation}"
    row = database.owner.execute(SOURCE, [place["store_file"]]).fetchone()
    assert row is not None, f"{message} cites a file that is not there: {citation}"
    file_id, text = row
    quote = text[place["start"] : place["end"]]
    assert file_id == source["file_id"], f"{message} cites another file: {citation}"
    assert source["quote"] and quote == source["quote"], f"{message} misquotes: {citation}"
