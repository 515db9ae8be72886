"""HTTP responses with the content of a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import structlog
from django.core.files.storage import default_storage
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from chat.errors import NotFound, Unavailable
from chat.models import File
from tenants.db import release_connection

log = structlog.get_logger(__name__)

CHUNK_BYTES = 1_048_576
# Image types that may be shown inline. SVG can contain scripts: the policy below blocks them.
INLINE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
INLINE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def build_file_response(row: File, *, show: bool = False) -> HttpResponseBase:
    """Return a response that downloads a file as an attachment.

    With `show`, images are sent inline, for pages of the same origin.

    Raises:
        NotFound: the file's bytes have been deleted concurrently.
        Unavailable: the file storage cannot be reached.
    """
    try:
        content = default_storage.open(row.storage_key)
    except FileNotFoundError:
        raise NotFound(f"No file found with id '{row.pk}'.", param="file_id") from None
    except OSError as error:
        log.exception("storage_failed")
        raise Unavailable() from error
    response: HttpResponseBase
    if row.bytes <= CHUNK_BYTES:
        with content:
            response = HttpResponse(content.read())
    else:
        response = StreamingHttpResponse(_pieces(content))
        # A slow client must not hold a database connection.
        release_connection()
    shown = show and row.media_type in INLINE_TYPES
    response["Content-Type"] = row.media_type if shown else "application/octet-stream"
    response["Content-Length"] = str(row.bytes)
    disposition = content_disposition_header(not shown, row.filename)
    response["Content-Disposition"] = str(disposition)
    response["X-Content-Type-Options"] = "nosniff"
    if shown:
        response["Content-Security-Policy"] = INLINE_POLICY
        response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


async def _pieces(content: Any) -> AsyncIterator[bytes]:
    # Under ASGI, Django reads a synchronous iterator into memory before it sends anything.
    with content:
        while piece := await asyncio.to_thread(content.read, CHUNK_BYTES):
            yield piece
