"""File type detection by content. The file name only distinguishes kinds of text."""

from __future__ import annotations

import json
import zipfile
import zlib
from enum import StrEnum
from importlib.util import find_spec
from io import BytesIO
from pathlib import PurePosixPath

from chat.retrieval.errors import Unreadable, UnsupportedFile
from chat.retrieval.text import decode


class Kind(StrEnum):
    """The supported file types."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    ODT = "application/vnd.oasis.opendocument.text"
    ODS = "application/vnd.oasis.opendocument.spreadsheet"
    ODP = "application/vnd.oasis.opendocument.presentation"
    EPUB = "application/epub+zip"
    RTF = "application/rtf"
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
        """Whether this is an image, which has no text to extract."""
        return self.value.startswith("image/")

    @property
    def is_sheet(self) -> bool:
        """Whether this is a spreadsheet."""
        return self in (Kind.XLSX, Kind.ODS)

    @property
    def plural(self) -> str:
        """The plural name used in error messages about a missing extra."""
        return "Spreadsheets" if self.is_sheet else "RTF files"

    @property
    def is_readable(self) -> bool:
        """Whether the type can be read; False if it needs the missing `documents` extra."""
        return self not in _PACKAGES or find_spec(_PACKAGES[self]) is not None


_PACKAGES = {
    Kind.XLSX: "python_calamine",
    Kind.ODS: "python_calamine",
    Kind.RTF: "striprtf",
}

SNIFF_BYTES = 65_536
_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"%PDF-", Kind.PDF),
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"GIF87a", Kind.GIF),
    (b"GIF89a", Kind.GIF),
    (b"{\\rtf", Kind.RTF),
)
# Word, Excel and PowerPoint files are recognised by the name of their main part.
_MAIN_PARTS = {
    "word/document.xml": Kind.DOCX,
    "xl/workbook.xml": Kind.XLSX,
    "ppt/presentation.xml": Kind.PPTX,
}
# The other formats declare their type in the first part, which is not compressed.
_DECLARED = {str(kind).encode(): kind for kind in (Kind.ODT, Kind.ODS, Kind.ODP, Kind.EPUB)}
_MAX_DECLARED = 100
_DECLARED_AT = 38
# OLE compound files: Office formats until 2003, and password-protected Office files since.
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCKED = "EncryptedPackage".encode("utf-16-le")
_BY_SUFFIX = {".md": Kind.MARKDOWN, ".markdown": Kind.MARKDOWN, ".csv": Kind.CSV, ".tsv": Kind.CSV}
_HTML_BEGINNINGS = ("<!doctype html", "<html", "<head", "<body")
# PDF readers accept some leading garbage before the signature.
_PDF_WITHIN = 1024


def detect_kind(data: bytes, name: str = "") -> Kind:
    """Detect the type of a file; its name only distinguishes kinds of text.

    Raises:
        UnsupportedFile: the file type is not supported.
        Unreadable: the file is empty, a damaged archive, or a password-protected Office file.
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
    if data.startswith(_COMPOUND):
        raise _build_compound_error(data)
    if data.startswith(b"PK"):
        return _detect_zip_kind(data)
    return _detect_text_kind(decode(data[:SNIFF_BYTES], cut=len(data) > SNIFF_BYTES), data, name)


def _detect_zip_kind(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for part, kind in _MAIN_PARTS.items():
                if part in archive.NameToInfo:
                    return kind
            if "mimetype" in archive.NameToInfo:
                with archive.open("mimetype") as part_of_it:
                    return _DECLARED[part_of_it.read(_MAX_DECLARED).strip()]
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError):
        raise Unreadable("The file is damaged and cannot be opened.") from None
    except (KeyError, RuntimeError, NotImplementedError):
        # The declared type is unknown, or the part is encrypted.
        pass
    raise UnsupportedFile(
        "Archives and this type of Office file are not supported. Save the file as PDF."
    )


def detect_media_type(head: bytes, name: str) -> str:
    """Return the media type of a file from its first `SNIFF_BYTES` bytes; archives stay packed."""
    if head.startswith(b"PK\x03\x04"):
        # The central directory is at the end of the file and may be a ZIP bomb; it is only read
        # by the indexing process.
        return str(_detect_archive_kind(head) or "application/zip")
    try:
        return str(detect_kind(head, name))
    except Unreadable:
        return "application/octet-stream"


def _detect_archive_kind(head: bytes) -> Kind | None:
    for part, kind in _MAIN_PARTS.items():
        if part.encode() in head:
            return kind
    declared = head[_DECLARED_AT:].partition(b"PK")[0] if head[30:38] == b"mimetype" else b""
    return _DECLARED.get(declared.strip())


def _build_compound_error(data: bytes) -> Unreadable:
    if _LOCKED in data:
        return Unreadable(
            "This Office file is password-protected. Remove the password and upload it again."
        )
    return UnsupportedFile("Old Office formats are not supported. Save the file as PDF.")


def _detect_text_kind(beginning: str, data: bytes, name: str) -> Kind:
    suffix = PurePosixPath(name).suffix.lower()
    if beginning.lstrip().lower().startswith(_HTML_BEGINNINGS) or suffix in (".html", ".htm"):
        return Kind.HTML
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".json" or _is_json(data):
        return Kind.JSON
    return Kind.TEXT


def _is_json(data: bytes) -> bool:
    if len(data) > SNIFF_BYTES or data[:1] not in b"{[":
        return False
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
