"""Decoding of bytes to storable Unicode text."""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import cache

from chat.retrieval.errors import UnsupportedFile

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# PostgreSQL cannot store NUL; the others have no meaning. Tab, line feed and form feed stay.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
# Python normalises a run of combining marks in quadratic time. No writing system needs as many
# as 30; the Unicode Standard (UAX 15, Stream-Safe Text Format) splits longer runs with U+034F.
MAX_MARKS = 30
_GRAPHEME_JOINER = "\u034f"
_SURROGATES = re.compile("[\ud800-\udfff]")
# Data with a larger share of control characters is treated as binary.
_MAX_CONTROLS = 0.01
_DETECTION_LENGTH = 65_536


def decode(data: bytes, *, cut: bool = False) -> str:
    """Decode by byte order mark, else as UTF-8, else with the most likely encoding.

    Set `cut` if the last character may be incomplete.

    Raises:
        UnsupportedFile: the data is not text in any known encoding.
    """
    text = _decode(data, cut=cut)
    if len(_CONTROLS.findall(text[:_DETECTION_LENGTH])) > _MAX_CONTROLS * len(
        text[:_DETECTION_LENGTH]
    ):
        raise UnsupportedFile(
            "This file type is not supported. Supported types: PDF, Office, HTML and text files."
        )
    return clean(text)


def _decode(data: bytes, *, cut: bool) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return codecs.getincrementaldecoder(encoding)("replace").decode(data, final=not cut)
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        # Imported here because it takes 5 MB that most processes never need.
        from charset_normalizer import from_bytes

        best = from_bytes(data[:_DETECTION_LENGTH]).best()
    if best is None:
        raise UnsupportedFile("The text encoding is unknown. Save the file as UTF-8.")
    return data.decode(best.encoding, "replace")


def clean(text: str) -> str:
    """Return `text` in NFC, with LF line ends and without characters that cannot be stored."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROLS.sub("", text)
    if text.isascii():
        return text
    text = _SURROGATES.sub("\ufffd", text)
    text = _compile_marks_pattern().sub(lambda run: run.group() + _GRAPHEME_JOINER, text)
    return unicodedata.normalize("NFC", text)


@cache
def _compile_marks_pattern() -> re.Pattern[str]:
    """Return the pattern that matches a run of `MAX_MARKS` combining marks."""
    marks = "".join(
        chr(point) for point in range(0x300, 0x1F000) if unicodedata.combining(chr(point))
    )
    return re.compile(f"[{marks}]{{{MAX_MARKS}}}")
