"""Text extraction from spreadsheets. Needs the `documents` extra."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from chat.retrieval.archives import build_password_error, open_archive
from chat.retrieval.errors import Unreadable
from chat.retrieval.limits import Paged, join_pages
from chat.retrieval.text import clean

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

_WHAT = "spreadsheet"
# Further digits are binary rounding noise.
_DIGITS = ".15g"


def extract_spreadsheet(data: bytes) -> Paged:
    """Return the sheets of an XLSX or ODS file as pages: the name, then one line per row.

    Cells are separated by tabs; empty rows are omitted.

    Raises:
        Unreadable: the file is damaged, encrypted, or too large.
    """
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    with open_archive(data, _WHAT):
        # open_archive has checked the unpacked size.
        try:
            return join_pages(_pages(CalamineWorkbook.from_filelike(BytesIO(data))))
        except PasswordError:
            raise build_password_error(_WHAT) from None
        except CalamineError:
            raise Unreadable(f"This {_WHAT} is damaged and cannot be read.") from None


def _pages(workbook: CalamineWorkbook) -> Iterator[str]:
    for name in workbook.sheet_names:
        rows = (
            "\t".join(map(_format_cell, row)).rstrip()
            for row in workbook.get_sheet_by_name(name).iter_rows()
        )
        lines = [row for row in rows if row]
        yield clean("\n".join([name, *lines])) if lines else ""


def _format_cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return format(value, _DIGITS)
    return " ".join(str(value).split())
