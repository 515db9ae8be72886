"""File endpoints of the chat page: upload, download, metadata and cited passages."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from django.db import transaction
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from chat.actions.fields import build_not_found
from chat.actions.files.manage import delete_file, record_download
from chat.actions.messages.attachments import create_attachable
from chat.downloads import build_file_response
from chat.errors import InvalidInput
from chat.form_input import read_form
from chat.ids import is_id
from chat.models import File, IndexStatus, StoreFile
from chat.models.stores import get_page_number, list_readable_files
from chat.retrieval.file_types import Kind
from chat.web.http import (
    delete_endpoint,
    dispatch_by_method,
    get_endpoint,
    get_query_parameter,
    get_query_parameters,
    non_atomic_get_endpoint,
    post_endpoint,
)
from tenants.authentication import Principal

MAX_REQUESTED = 100
# Characters of context around a quote; maximum characters of the quote.
CONTEXT_CHARACTERS, MAX_QUOTED = 1_200, 20_000
_DOCUMENTS = (
    *(Kind.PDF, Kind.DOCX, Kind.PPTX, Kind.ODT, Kind.ODP, Kind.EPUB, Kind.RTF),
    *(Kind.HTML, Kind.MARKDOWN, Kind.TEXT),
)
_SHEETS = tuple(kind for kind in Kind if kind.is_sheet)
_TABLES = (".xlsx", ".xls", ".ods", ".parquet")
_STATES = {
    IndexStatus.IN_PROGRESS: "reading",
    IndexStatus.COMPLETED: "ready",
    IndexStatus.FAILED: "failed",
    IndexStatus.CANCELLED: "failed",
}


def build_file_data(file: File, *, state: str = "", problem: str = "") -> dict[str, Any]:
    """Return the file data shown on the page; `state` is "reading", "ready", "failed" or ""."""
    return {
        "id": file.pk,
        "name": file.filename,
        "bytes": file.bytes,
        "kind": _get_kind(file),
        "state": state,
        "problem": problem,
    }


def _get_kind(file: File) -> str:
    if file.media_type.startswith("image/"):
        return "image"
    if file.media_type in (Kind.CSV, Kind.JSON):
        return "data"
    if file.media_type in _SHEETS:
        # If the optional reader is not installed, only code can open it.
        return "data" if Kind(file.media_type).is_readable else "table"
    if file.media_type in _DOCUMENTS and Kind(file.media_type).is_readable:
        return "document"
    table = PurePosixPath(file.filename).suffix.lower() in _TABLES
    return "table" if table else "other"


@post_endpoint
def upload(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Store a file to be attached to a message."""
    _form, content = read_form(request, file="file", fields=())
    file = create_attachable(principal, cast(BinaryIO, content.file), filename=content.name or "")
    return build_file_data(file)


@get_endpoint
def list_files(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return the files with the given ids; deleted files are left out."""
    requested = (get_query_parameter(request, "ids") or "").split(",")
    if len(requested) > MAX_REQUESTED:
        raise InvalidInput(_("Too many files requested at once."), param="ids")
    files = list_readable_files(principal).in_bulk(
        [item for item in requested if is_id(item, "file-")]
    )
    indexed = StoreFile.objects.filter(file__in=list(files)).order_by("pk")
    states = {row.file_id: row for row in indexed.defer("text", "pages")}
    return {"data": [_render_file(file, states.get(file_id)) for file_id, file in files.items()]}


def _render_file(file: File, row: StoreFile | None) -> dict[str, Any]:
    if row is None:
        return build_file_data(file)
    problem = _(row.error_message) if row.error_message else ""
    return build_file_data(file, state=_STATES[IndexStatus(row.status)], problem=problem)


files_view = dispatch_by_method(get=list_files, post=upload)


@delete_endpoint
def remove_file(request: HttpRequest, principal: Principal, file_id: str) -> dict[str, Any]:
    """Delete a file of the member."""
    delete_file(principal, _require_file_id(file_id))
    return {"id": file_id, "object": "file", "deleted": True}


@non_atomic_get_endpoint
def download_file(request: HttpRequest, principal: Principal, file_id: str) -> HttpResponseBase:
    """Send a file as a download, or with `show=1` an image inline."""
    show = get_query_parameter(request, "show") == "1"
    with transaction.atomic():
        file = _get_readable_file(principal, file_id)
    # Browsers that send Sec-Fetch-Dest must want the image for an <img>.
    wanted = request.headers.get("Sec-Fetch-Dest", "image")
    response = build_file_response(file, show=show and wanted == "image")
    record_download(principal, file)
    return response


@get_endpoint
def get_passage(request: HttpRequest, principal: Principal, file_id: str) -> dict[str, Any]:
    """Return a passage of a file's extracted text, with the text around it."""
    given = get_query_parameters(request, "store_file", "start", "end")
    start, end = (_parse_number(given, name, digits=9) for name in ("start", "end"))
    if not start < end <= start + MAX_QUOTED:
        raise InvalidInput(_("This is not a valid text range."), param="end")
    file = _get_readable_file(principal, file_id)
    rows = StoreFile.objects.filter(file=file)
    if "store_file" in given:
        rows = rows.filter(pk=_parse_number(given, "store_file", digits=18))
    first = max(0, start - CONTEXT_CHARACTERS)
    piece = Substr("text", first + 1, end + CONTEXT_CHARACTERS - first)
    row = rows.annotate(piece=piece).defer("text").order_by("-pk").first()
    if row is None or len(row.piece) < end - first:
        raise build_not_found("file-", file_id, param="file_id")
    text = row.piece
    return {
        "file_name": file.filename,
        "markdown": file.media_type == Kind.MARKDOWN,
        "page": get_page_number(row.pages, start),
        "before": _trim_partial_start(text[: start - first], cut=first > 0),
        "quote": text[start - first : end - first],
        "after": _trim_partial_end(
            text[end - first :], cut=len(text) == end + CONTEXT_CHARACTERS - first
        ),
    }


def _require_file_id(file_id: str) -> str:
    """Return `file_id` if it is a well-formed file id.

    Raises:
        NotFound: the value is not a well-formed file id.
    """
    if not is_id(file_id, "file-"):
        raise build_not_found("file-", file_id, param="file_id")
    return file_id


def _get_readable_file(principal: Principal, file_id: str) -> File:
    file: File | None = list_readable_files(principal).filter(pk=_require_file_id(file_id)).first()
    if file is None:
        raise build_not_found("file-", file_id, param="file_id")
    return file


def _parse_number(given: dict[str, str], name: str, *, digits: int) -> int:
    """Return an integer parameter of at most `digits` digits, small enough for PostgreSQL.

    Raises:
        InvalidInput: the value is missing, not a whole number, or too long.
    """
    value = given.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) <= digits):
        raise InvalidInput(_("This parameter must be a whole number."), param=name)
    return int(value)


def _trim_partial_start(text: str, *, cut: bool) -> str:
    """Return `text` without the partial word at its start, if it was cut."""
    return text.partition(" ")[2] if cut and " " in text else text


def _trim_partial_end(text: str, *, cut: bool) -> str:
    return text.rpartition(" ")[0] if cut and " " in text else text
