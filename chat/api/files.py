"""Views of /v1/files."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import storage, wire
from chat.actions.files.manage import (
    clean_name,
    delete_file,
    finalize_file,
    get_own_file,
    receive_file,
    record_download,
)
from chat.api.base import ApiView
from chat.api.fields import Choice
from chat.api.idempotency import find_answer, once
from chat.api.pagination import PageQuery, QueryNumber
from chat.downloads import build_file_response
from chat.errors import MissingParameter
from chat.form_input import read_form
from chat.models import File
from chat.models.files import Purpose
from tenants.errors import AtriumError

MAX_LISTED = 10_000


class FilesQuery(PageQuery):
    """Query parameters of the file list, whose page may hold all files at once."""

    limit = QueryNumber(default=MAX_LISTED, min_value=1, max_value=MAX_LISTED)
    purpose = Choice(required=False, choices=Purpose.values)
    before: Any = None


class FilesView(ApiView):
    """Files of the caller; for admins also those of the company."""

    beta = False
    guards_itself = True
    reads_form = True

    def get(self, request: Request) -> Response:
        """List the files."""
        query = self.query(FilesQuery)
        with transaction.atomic():
            rows = File.objects.visible_to(self.principal)
            if query.get("purpose"):
                rows = rows.filter(purpose=query["purpose"])
            return self.page(rows, wire.file_object, query=query, prefix="file-")

    def post(self, request: Request) -> HttpResponseBase:
        """Upload a file. An admin's files for assistants belong to the company."""
        form, content = read_form(
            request._request, file="file", fields=("purpose", "expires_after")
        )
        if "purpose" not in form:
            raise MissingParameter(param="purpose")
        try:
            row = self._receive(content, form)
        except AtriumError:
            digest = storage.compute_sha256(cast(BinaryIO, content.file))
            self.digest = _build_digest(digest, clean_name(content.name or ""), form)
            if (answer := find_answer(self)) is None:
                raise
            return answer
        self.digest = _build_digest(row.sha256, row.filename, form)
        try:
            return self._create_once(request, row)
        finally:
            if row.stored_at is None:
                storage.discard(row)

    def _receive(self, content: UploadedFile, form: dict[str, Any]) -> File:
        principal = self.principal
        return receive_file(
            principal,
            cast(BinaryIO, content.file),
            filename=content.name or "",
            company=principal.is_admin and form["purpose"] == Purpose.ASSISTANTS,
            **form,
        )

    @once
    def _create_once(self, request: Request, row: File) -> HttpResponseBase:
        return self.answer(wire.file_object(finalize_file(self.principal, row)))


def _build_digest(sha256: str, filename: str, form: dict[str, Any]) -> str:
    """Return a text that identifies an upload: its digest, its name and its fields."""
    return f"{sha256} {filename} {sorted(form.items())}"


class FileView(ApiView):
    """A single file."""

    beta = False

    def get(self, request: Request, file_id: str) -> Response:
        """Retrieve the file."""
        with transaction.atomic():
            return self.answer(wire.file_object(get_own_file(self.principal, file_id)))

    def delete(self, request: Request, file_id: str) -> Response:
        """Delete the file, also from every vector store."""
        delete_file(self.principal, file_id)
        return self.answer({**wire.render_deleted(file_id, "file"), "object": "file"})


class FileContentView(ApiView):
    """Content of a file."""

    beta = False

    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        """Send the content as a download that browsers never display inline."""
        with transaction.atomic():
            row = get_own_file(self.principal, file_id)
        response = build_file_response(row)
        record_download(self.principal, row)
        return response
