"""Bulk upload of company files and documents by admins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from django.db import transaction
from django.utils.translation import gettext as _

from chat.actions.files.manage import create_file, detect_type
from chat.actions.vector_stores.files import create_batch
from chat.actions.vector_stores.manage import get_live_store
from chat.errors import ChatError, InvalidInput
from chat.models import File
from chat.models.files import Purpose
from tenants.authentication import Principal
from tenants.models import Role
from tenants.scope import tenant_scope

# Media types that cannot be indexed. Archives are allowed: a ZIP file may be an office
# document, which is only known after reading it.
UNSUPPORTED_TYPES = ("application/octet-stream", "image/")


@dataclass(kw_only=True)
class UploadOutcome:
    """Result of a bulk upload: stored files, and a name and error message for each rejected one."""

    files: list[File] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def create_files(principal: Principal, contents: Iterable[tuple[str, BinaryIO]]) -> UploadOutcome:
    """Store several company files; a rejected file does not affect the others.

    Opens its own transactions: do not call within a transaction.

    Raises:
        NotAllowed: the principal is not an admin.
    """
    return _store_files(principal, contents, searched=False)


def create_documents(
    principal: Principal, store_id: str, contents: Iterable[tuple[str, BinaryIO]]
) -> UploadOutcome:
    """Store several company files and index them in one of its collections.

    File types that cannot be indexed are rejected. Opens its own transactions:
    do not call within a transaction.

    Raises:
        NotAllowed: the principal is not an admin.
        NotFound: the collection does not exist.
        StoreExpired: the collection has expired.
    """
    with tenant_scope(principal.tenant_id), transaction.atomic():
        get_live_store(principal, store_id)
    outcome = _store_files(principal, contents, searched=True)
    if outcome.files:
        create_batch(principal, store_id, file_ids=[file.pk for file in outcome.files])
    return outcome


def _store_files(
    principal: Principal, contents: Iterable[tuple[str, BinaryIO]], *, searched: bool
) -> UploadOutcome:
    principal.require(Role.ADMIN)
    outcome = UploadOutcome()
    for name, content in contents:
        try:
            if searched and detect_type(content, name).startswith(UNSUPPORTED_TYPES):
                raise _build_unsupported_error()
            file = create_file(
                principal, content, filename=name, purpose=Purpose.ASSISTANTS, company=True
            )
        except ChatError as error:
            outcome.refused.append((name, error.message))
        else:
            outcome.files.append(file)
    return outcome


def _build_unsupported_error() -> InvalidInput:
    return InvalidInput(
        _(
            "This file type is not supported. Use PDF, Word, PowerPoint, OpenDocument, EPUB, HTML, "
            "Markdown, text, CSV or JSON, or Excel and RTF if the server supports them."
        ),
        param="file",
    )
