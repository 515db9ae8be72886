"""What a file is, by its content: a name or a declared type is only a hint among texts."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from enum import StrEnum
from io import BytesIO
from pathlib import PurePosixPath

from chat.retrieval.errors import Unreadable, Unsupported
from chat.retrieval.text import decode


class Kind(StrEnum):
    """What is read."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    CSV = "text/csv"
    JSON = "application/json"
    TEXT = "text/plain"
    PNG = "image/png"
    JPEG = "image/jpeg"
    GIF = "image/gif"
    WEBP = "image/webp"

    @property
    def is_image(self) -> bool:
        """True for what only a model that sees can read."""
        return self.value.startswith("image/")


SNIFFED = 65_536
_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"%PDF-", Kind.PDF),
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"GIF87a", Kind.GIF),
    (b"GIF89a", Kind.GIF),
)
_BY_SUFFIX = {".md": Kind.MARKDOWN, ".markdown": Kind.MARKDOWN, ".csv": Kind.CSV, ".tsv": Kind.CSV}
_HTML_BEGINNINGS = ("<!doctype html", "<html", "<head", "<body")
# Readers of PDF accept some rubbish ahead of the signature.
_PDF_WITHIN = 1024


def kind_of(data: bytes, name: str = "") -> Kind:
    """Return what `data` is; the name decides only which sort of text a text is.

    Raises:
        Unsupported: for anything that nothing here reads.
        Unreadable: for an empty file.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise Unreadable("The file is empty.")
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Kind.WEBP
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return Kind.PDF
    if data.startswith(b"PK"):
        return _zipped(data)
    return _text_kind(decode(data[:SNIFFED], cut=len(data) > SNIFFED), data, name)


def _zipped(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if "word/document.xml" in archive.namelist():
                return Kind.DOCX
    except (zipfile.BadZipFile, ValueError, OSError):
        raise Unreadable("The file is damaged: its archive cannot be opened.") from None
    raise Unsupported("Archives and this kind of Office file cannot be read. Save it as PDF.")


def _text_kind(beginning: str, data: bytes, name: str) -> Kind:
    suffix = PurePosixPath(name).suffix.lower()
    if beginning.lstrip().lower().startswith(_HTML_BEGINNINGS) or suffix in (".html", ".htm"):
        return Kind.HTML
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".json" or _is(json.loads, data):
        return Kind.JSON
    return Kind.TEXT


def _is(parse: Callable[[bytes], object], data: bytes) -> bool:
    if len(data) > SNIFFED or data[:1] not in b"{[":
        return False
    try:
        parse(data)
    except (ValueError, RecursionError):
        return False
    return True
