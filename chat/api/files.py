"""/v1/files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, cast

from django.core.files.storage import default_storage
from django.db import transaction
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request
from rest_framework.response import Response

from chat import storage, wire, wire_files
from chat.actions.fields import not_found
from chat.actions.files import delete_file, keep_file, own_file, receive_file
from chat.api.base import ApiView
from chat.api.fields import Choice
from chat.api.forms import read_form
from chat.api.idempotency import once
from chat.api.pages import PageQuery, QueryNumber
from chat.errors import MissingParameter
from chat.models import File
from chat.models.files import Purpose

MOST_LISTED = 10_000
SENT_AT_ONCE = 1_048_576


class FilesQuery(PageQuery):
    """Files may be listed all at once."""

    limit = QueryNumber(default=MOST_LISTED, min_value=1, max_value=MOST_LISTED)
    purpose = Choice(required=False, choices=Purpose.values)
    before: Any = None


class FilesView(ApiView):
    """The asker's own files, and for admins the company's."""

    beta = False
    guards_itself = True
    digest = ""

    def get(self, request: Request) -> Response:
        """List them."""
        query = self.query(FilesQuery)
        with transaction.atomic():
            rows = File.objects.for_principal(self.principal)
            if query.get("purpose"):
                rows = rows.filter(purpose=query["purpose"])
            return self.page(rows, wire_files.file_object, query=query, prefix="file-")

    def post(self, request: Request) -> HttpResponseBase:
        """Upload one. An admin's files for assistants are the company's."""
        form, content = read_form(
            request._request, file="file", fields=("purpose", "expires_after")
        )
        if "purpose" not in form:
            raise MissingParameter("Missing required parameter: 'purpose'.", param="purpose")
        principal = self.principal
        row = receive_file(
            principal,
            cast(BinaryIO, content.file),
            filename=content.name or "",
            company=principal.is_admin and form["purpose"] == Purpose.ASSISTANTS,
            **form,
        )
        self.digest = f"{row.sha256} {row.filename} {sorted(form.items())}"
        try:
            return self._kept(request, row)
        finally:
            if row.stored_at is None:
                storage.discard(row)

    @once
    def _kept(self, request: Request, row: File) -> HttpResponseBase:
        return self.answer(wire_files.file_object(keep_file(self.principal, row)))

    def body_digest(self) -> str:
        """Return what tells this form from others: its file, name and fields."""
        return self.digest


class FileView(ApiView):
    """One file."""

    beta = False

    def get(self, request: Request, file_id: str) -> Response:
        """Retrieve it."""
        with transaction.atomic():
            return self.answer(wire_files.file_object(own_file(self.principal, file_id)))

    def delete(self, request: Request, file_id: str) -> Response:
        """Delete it, also from every vector store."""
        delete_file(self.principal, file_id)
        return self.answer({**wire.deleted(file_id, "file"), "object": "file"})


class FileContentView(ApiView):
    """What a file holds."""

    beta = False

    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        """Send it, as something to be saved and never to be shown."""
        with transaction.atomic():
            row = own_file(self.principal, file_id)
        try:
            content = default_storage.open(row.storage_key)
        except FileNotFoundError:
            # Deleted a moment ago.
            raise not_found("file-", file_id, param="file_id") from None
        response: HttpResponseBase
        if row.bytes <= SENT_AT_ONCE:
            with content:
                response = HttpResponse(content.read())
        else:
            response = StreamingHttpResponse(_pieces(content))
        response["Content-Type"] = "application/octet-stream"
        response["Content-Length"] = str(row.bytes)
        response["Content-Disposition"] = str(content_disposition_header(True, row.filename))
        response["X-Content-Type-Options"] = "nosniff"
        return response


async def _pieces(content: Any) -> AsyncIterator[bytes]:
    # Django would take a plain iterator whole into memory before it sends the first byte.
    with content:
        while piece := await asyncio.to_thread(content.read, SENT_AT_ONCE):
            yield piece
