"""What admins do with the company's documents, several files at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from django.db import transaction
from django.utils.translation import gettext as _

from chat.actions.files import create_file, detect_type
from chat.actions.store_files import create_batch
from chat.actions.stores import live_store
from chat.errors import ChatError, InvalidInput
from chat.models import File
from chat.models.files import Purpose
from tenants.authentication import Principal
from tenants.models import Role
from tenants.scope import tenant_scope

# An archive may be a document: that is seen where it is read.
UNREADABLE = ("application/octet-stream", "image/")


@dataclass(kw_only=True)
class UploadOutcome:
    """What became of several files: those kept, and a sentence for each of the others by name."""

    files: list[File] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def create_files(principal: Principal, contents: Iterable[tuple[str, BinaryIO]]) -> UploadOutcome:
    """Store files of the company by name; one that is refused does not keep the others away.

    Opens transactions itself: must not run within another.

    Raises:
        NotAllowed: for members.
    """
    return _store_files(principal, contents, searched=False)


def create_documents(
    principal: Principal, store_id: str, contents: Iterable[tuple[str, BinaryIO]]
) -> UploadOutcome:
    """Store files of the company and have them indexed in one of its collections.

    Files of a kind that cannot be searched are refused. Opens transactions
    itself: must not run within another.

    Raises:
        NotAllowed: for members.
        NotFound, StoreExpired: for an unknown collection, and for one that has expired.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        live_store(principal, store_id)
    received = _store_files(principal, contents, searched=True)
    if received.files:
        create_batch(principal, store_id, file_ids=[file.pk for file in received.files])
    return received


def _store_files(
    principal: Principal, contents: Iterable[tuple[str, BinaryIO]], *, searched: bool
) -> UploadOutcome:
    principal.require(Role.ADMIN)
    received = UploadOutcome()
    for name, content in contents:
        try:
            if searched and detect_type(content, name).startswith(UNREADABLE):
                raise _unreadable()
            file = create_file(
                principal, content, filename=name, purpose=Purpose.ASSISTANTS, company=True
            )
        except ChatError as error:
            received.refused.append((name, error.message))
        else:
            received.files.append(file)
    return received


def _unreadable() -> InvalidInput:
    return InvalidInput(
        _(
            "Documents are PDF, Word, PowerPoint, OpenDocument, EPUB, HTML, Markdown, text, "
            "CSV or JSON files, and Excel and RTF where the server has the extra for them."
        ),
        param="file",
    )
