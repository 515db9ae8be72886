"""Citation marks in an answer: resolve them to citations and remove invalid ones.

A mark is released to readers once it is complete and resolves to a passage that a search
of the same thread found and whose file still contains the same text. The streamed and the
stored text are therefore identical.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Substr

from chat.models import File, StoreFile, ToolCall
from chat.models.runs import CallStatus
from chat.models.stores import get_page_number
from chat.runs.citations.artifacts import LINK
from chat.runs.citations.quotes import choose_quote
from chat.tools import code_files, file_search
from chat.tools.file_search import CLOSE, DAGGER, OPEN, compute_token
from tenants.db import run_uncancelled
from tenants.scope import tenant_scope

Annotation = dict[str, Any]

MAX_MARK_LENGTH = 200
MAX_CALLS = 2000
_OPENED = re.compile(rf"{OPEN}[^{OPEN}{CLOSE}\n]{{0,{MAX_MARK_LENGTH - 2}}}")
_UNCLOSED = re.compile(rf"{OPEN}([^{OPEN}{CLOSE}\n]{{0,{MAX_MARK_LENGTH - 2}}})\Z")
_ADDRESS = re.compile(rf"([a-z0-9]{{4}}):([0-9]{{1,3}})(?:{DAGGER}.*)?\Z")
# Text in these brackets that is not a citation has neither a dagger nor such a number.
_LIKE_A_MARK = re.compile(rf".*{DAGGER}|\w{{1,12}}:[0-9]{{1,3}}\Z")
_LIKE_A_BEGINNING = re.compile(rf".*{DAGGER}|[a-z0-9]{{1,4}}(?::[0-9]{{0,3}})?\Z")
_NAME = r"[^\s()<>\[\]\"'`]+"
_TRAILING_PUNCTUATION = ".,;:!?*_"


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Search result sent to the model; `text` is the file's text from `start` to `end`."""

    file_id: str
    file_name: str
    store_file: int
    start: int
    end: int
    text: str
    pages: tuple[int, ...]

    def annotation(self, mark: str, *, said: str) -> Annotation:
        """Return the citation for a mark that follows the text `said` of the message."""
        quote = choose_quote(self.text, said)
        start = self.start + quote.start
        return {
            "type": "file_citation",
            "text": mark,
            "start_index": len(said),
            "end_index": len(said) + len(mark),
            "file_citation": {"file_id": self.file_id, "quote": quote.text},
            "atrium": {
                "file_name": self.file_name,
                "store_file": self.store_file,
                "start": start,
                "end": self.start + quote.end,
                "page": get_page_number(self.pages, start),
            },
        }


@dataclass(frozen=True)
class ReleasedText:
    """Text to send to readers, and the citations in it."""

    text: str
    citations: list[tuple[Passage, Annotation]]


@dataclass(kw_only=True)
class CitationMarks:
    """Citation marks of one run. `held` is withheld text that may be the start of a mark."""

    tenant_id: UUID
    thread_id: str
    held: str = ""
    found: dict[str, Passage | None] = field(default_factory=dict)
    # Search results sent to the model, by the tokens of the search calls.
    _results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def begin(self) -> None:
        """Reset after an interrupted answer: drop the withheld text and unresolved marks."""
        self.held = ""
        self.found = {
            address: passage for address, passage in self.found.items() if passage is not None
        }

    async def release(self, text: str, *, said: str) -> ReleasedText:
        """Return the releasable part of the withheld text and `text`, which follow `said`."""
        text, self.held = self.held + text, ""
        out, citations, start = list[str](), list[tuple[Passage, Annotation]](), 0
        while (at := text.find(OPEN, start)) >= 0:
            out.append(_drop_forged_ends(text[start:at], said, out))
            opened = _OPENED.match(text, at)
            assert opened is not None
            start = opened.end()
            if start == len(text):
                self.held = text[at:]
                return ReleasedText("".join(out), citations)
            if text[start] != CLOSE:
                out.append(opened[0])
                continue
            mark, start = opened[0] + CLOSE, start + 1
            if not _LIKE_A_MARK.match(mark[1:-1]):
                out.append(mark)
                continue
            passage = await self._passage(mark)
            if passage is not None:
                before = said + "".join(out)
                # Choosing the quote takes milliseconds; do not block the event loop meanwhile.
                annotation = await asyncio.to_thread(passage.annotation, mark, said=before)
                citations.append((passage, annotation))
                out.append(mark)
        out.append(_drop_forged_ends(text[start:], said, out))
        return ReleasedText("".join(out), citations)

    def flush(self) -> str:
        """Return the text withheld at the end of an answer, unless it looks like a mark's start."""
        held, self.held = self.held, ""
        return "" if _LIKE_A_BEGINNING.match(held[1:]) else held

    async def _passage(self, mark: str) -> Passage | None:
        address = _ADDRESS.match(mark[1:-1])
        if address is None:
            return None
        key = f"{address[1]}:{address[2]}"
        if key not in self.found:
            self.found[key] = await run_uncancelled(self._look_up, address[1], int(address[2]))
        return self.found[key]

    def _look_up(self, token: str, number: int) -> Passage | None:
        with tenant_scope(self.tenant_id), transaction.atomic():
            results = self._results.get(token) or self._read_results(token)
            return _verify_passage(results[number - 1]) if 0 < number <= len(results) else None

    def _read_results(self, token: str) -> list[dict[str, Any]]:
        calls = ToolCall.objects.filter(
            run__thread_id=self.thread_id,
            name=file_search.NAME,
            status=CallStatus.COMPLETED,
            details__isnull=False,
        ).order_by("-created_at")
        ids = calls.values_list("pk", flat=True)[:MAX_CALLS]
        found = next((pk for pk in ids if compute_token(pk) == token), None)
        if found is None:
            return []
        self._results[token] = calls.values_list("details__results", flat=True).get(pk=found)
        return self._results[token]


def _drop_forged_ends(text: str, said: str, out: Sequence[str]) -> str:
    """Return `text` without closing brackets that would complete a mark opened before it.

    A mark nested in the start of another mark is removed when it does not resolve. The text
    around it must not combine into an unchecked mark. `out` are the pieces between the text
    `said` of the message and `text`.
    """
    if CLOSE not in text:
        return text
    tail, kept = _get_tail(said, out), list[str]()
    *pieces, last = text.split(CLOSE)
    for piece in pieces:
        opened = _UNCLOSED.search((tail + piece)[-MAX_MARK_LENGTH:])
        forged = opened is not None and _LIKE_A_MARK.match(opened[1])
        kept.append(piece if forged else piece + CLOSE)
        tail = (tail + kept[-1])[-MAX_MARK_LENGTH:]
    return "".join((*kept, last))


def _get_tail(said: str, out: Sequence[str]) -> str:
    """Return the end of the text so far, long enough to contain any mark."""
    tail = ""
    for piece in reversed(out):
        tail = piece + tail
        if len(tail) >= MAX_MARK_LENGTH:
            return tail
    return said[-MAX_MARK_LENGTH:] + tail


def _verify_passage(result: dict[str, Any]) -> Passage | None:
    """Return the passage if its file still exists with the same text at that position."""
    length = result["end"] - result["start"]
    rows = StoreFile.objects.filter(
        pk=result["store_file"], store__deleted_at=None, file__in=File.objects.alive()
    )
    row = rows.annotate(there=Substr(F("text"), result["start"] + 1, length)).values(
        "there", "pages"
    )
    found = row.first()
    if found is None or found["there"] != result["text"]:
        return None
    return Passage(
        file_id=result["file_id"],
        file_name=result["file_name"],
        store_file=result["store_file"],
        start=result["start"],
        end=result["end"],
        text=result["text"],
        pages=tuple(found["pages"]),
    )


@dataclass
class MessageCitations:
    """Citations of one message; `numbers` numbers its passages by first appearance."""

    annotations: list[Annotation] = field(default_factory=list)
    numbers: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def add(self, passage: Passage, annotation: Annotation) -> None:
        """Add the citation of a released mark and number it."""
        place = (passage.store_file, passage.start, passage.end)
        number = self.numbers.setdefault(place, len(self.numbers) + 1)
        annotation["atrium"]["number"] = number
        self.annotations.append(annotation)


def find_file_links(text: str, files: dict[str, str], *, thread_id: str) -> list[Annotation]:
    """Return annotations for the links in a message's text to files written by code.

    `files` maps ids to names of files attached to this message; any other name refers to the
    newest file of that name in the thread. Call within the tenant's scope and a transaction.
    """
    if LINK not in text:
        return []
    fresh = {name: file_id for file_id, name in files.items()}
    # Names with spaces or punctuation are found only if they are known.
    known_names = "|".join(re.escape(name) for name in sorted(fresh, key=len, reverse=True))
    either = f"(?:{known_names}|{_NAME})" if fresh else _NAME
    found = [
        (match.start(), match[1] if match[1] in fresh else match[1].rstrip(_TRAILING_PUNCTUATION))
        for match in re.finditer(f"{re.escape(LINK)}({either})", text)
    ]
    known = {
        **_find_earlier_files(thread_id, {name for _at, name in found} - fresh.keys()),
        **fresh,
    }
    return [
        {
            "type": "file_path",
            "text": LINK + name,
            "start_index": at,
            "end_index": at + len(LINK + name),
            "file_path": {"file_id": known[name]},
        }
        for at, name in found
        if name in known
    ]


def _find_earlier_files(thread_id: str, names: Iterable[str]) -> dict[str, str]:
    """Return the newest existing file of each name that code of the thread wrote."""
    wanted, found = set(names), dict[str, str]()
    if not wanted:
        return found
    calls = ToolCall.objects.filter(
        run__thread_id=thread_id, name=code_files.NAME, details__isnull=False
    ).order_by("-created_at")
    for files in calls.values_list("details__files", flat=True)[:MAX_CALLS]:
        for file in files or ():
            if file["name"] in wanted:
                found.setdefault(file["name"], file["file_id"])
        if found.keys() == wanted:
            break
    present = set(File.objects.alive().filter(pk__in=found.values()).values_list("pk", flat=True))
    return {name: file_id for name, file_id in found.items() if file_id in present}
