"""Views of /v1/uploads."""

from __future__ import annotations

from contextlib import suppress
from typing import BinaryIO, cast

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from chat import storage, wire
from chat.actions.files.uploads import (
    cancel_upload,
    check_upload,
    complete_upload,
    create_upload,
    finalize_part,
    join_parts,
    receive_part,
)
from chat.api.base import ApiView
from chat.api.fields import Input, RawValue, StrictInteger, Text
from chat.api.idempotency import find_answer, is_repeat, once
from chat.errors import UploadClosed
from chat.form_input import read_form
from chat.models import File, UploadPart
from tenants.errors import AtriumError


class NewUpload(Input):
    """Body of a new upload."""

    filename = Text()
    purpose = Text()
    bytes = StrictInteger(min_value=1)
    mime_type = Text()
    expires_after = RawValue(required=False, allow_null=True)


class UploadCompletion(Input):
    """Body that completes an upload: its parts in order."""

    part_ids = RawValue()
    md5 = Text(required=False, allow_null=True)


class UploadsView(ApiView):
    """Creation of uploads."""

    beta = False

    def post(self, request: Request) -> Response:
        """Create an upload for a file that will arrive in parts."""
        body = self.input(NewUpload)
        upload = create_upload(self.principal, size=body.pop("bytes"), **body)
        return self.answer(wire.upload_object(upload))


class PartsView(ApiView):
    """Parts of an upload."""

    beta = False
    guards_itself = True
    reads_form = True

    def post(self, request: Request, upload_id: str) -> HttpResponseBase:
        """Add a part."""
        try:
            check_upload(self.principal, upload_id)
        except UploadClosed:
            # A retried part may have been stored before the upload ended.
            if not is_repeat(request._request):
                raise
        _form, content = read_form(request._request, file="data", fields=())
        data = cast(BinaryIO, content.file)
        try:
            part, self.digest = receive_part(self.principal, upload_id, data)
        except AtriumError:
            self.digest = storage.compute_sha256(data)
            if (answer := find_answer(self)) is None:
                raise
            return answer
        return self._create_once(request, part)

    @once
    def _create_once(self, request: Request, part: UploadPart) -> HttpResponseBase:
        return self.answer(wire.upload_part_object(finalize_part(self.principal, part)))


class CompleteUploadView(ApiView):
    """Completion of an upload."""

    beta = False
    guards_itself = True

    def post(self, request: Request, upload_id: str) -> HttpResponseBase:
        """Join the parts to a file."""
        body = self.input(UploadCompletion)
        row = None
        with suppress(UploadClosed):
            # An earlier attempt of this very request may have completed the upload.
            row = join_parts(self.principal, upload_id, **body)
        try:
            return self._complete_once(request, upload_id, row)
        finally:
            if row is not None and row.stored_at is None:
                storage.discard(row)

    @once
    def _complete_once(
        self, request: Request, upload_id: str, row: File | None
    ) -> HttpResponseBase:
        if row is None:
            raise UploadClosed()
        upload = complete_upload(self.principal, upload_id, row)
        return self.answer(wire.upload_object(upload))


class CancelUploadView(ApiView):
    """Cancellation of an upload."""

    beta = False

    def post(self, request: Request, upload_id: str) -> Response:
        """Cancel the upload."""
        self.input(Input)
        return self.answer(wire.upload_object(cancel_upload(self.principal, upload_id)))
