"""Files uploaded with a form, and the messages about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext as _

from chat.actions.vector_stores.collection_uploads import UploadOutcome
from tenants.errors import AtriumError

FIELD = "documents"


def iter_uploads(request: HttpRequest) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the form's files with their names."""
    for item in request.FILES.getlist(FIELD):
        yield item.name or "", cast(BinaryIO, item.file)


def report_uploads(
    request: HttpRequest, receive: Callable[[], UploadOutcome], says: Callable[[int], Any]
) -> None:
    """Call `receive` and add messages for the files it stored and rejected.

    `says` returns the message for a number of stored files.
    """
    if not request.FILES.getlist(FIELD):
        messages.error(request, _("Choose one or more files first."))
        return
    try:
        received = receive()
    except AtriumError as error:
        messages.error(request, error.message)
        return
    if received.files:
        messages.success(request, says(len(received.files)))
    for name, sentence in received.refused:
        messages.error(request, f"{name}: {sentence}")
