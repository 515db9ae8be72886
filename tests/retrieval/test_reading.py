"""Files are read in a process of their own, which may not take what it likes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from chat.retrieval.errors import Unreadable, UnsupportedFile
from chat.retrieval.extract import ExtractedText
from chat.retrieval.subprocess_reader import ReadingLimits, read_file
from tests.retrieval import files


def read(folder: Path, data: bytes, name: str = "a.txt", **limits: float) -> ExtractedText:
    path = folder / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        return asyncio.run(read_file(file, name, limits=ReadingLimits(**limits)))  # type: ignore[arg-type]


def test_text_and_pages_come_back_whole(tmp_path: Path) -> None:
    found = read(tmp_path, files.pdf("One", "Two"))
    assert (found.text, found.pages) == ("One\n\nTwo", (0, 5))


def test_its_refusal_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFile, match="Images"):
        read(tmp_path, b"\x89PNG\r\n\x1a\n....")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="too much text to index"):
        read(tmp_path, files.zip_bomb(220_000_000))


def test_too_little_memory_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="too complex to process"):
        read(tmp_path, files.zip_bomb(150_000_000), memory_mib=160)


def test_too_little_time_is_a_sentence() -> None:
    # A file that has no end as long as its other side is open.
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb"):
        with pytest.raises(Unreadable, match="too long"):
            asyncio.run(read_file(file, "a.txt", limits=ReadingLimits(seconds=0.5)))
