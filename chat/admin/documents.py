"""Admin of a collection's documents: extracted text, indexing status and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value, quote
from django.db import models
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import display

from chat.actions.vector_stores.files import reindex_store_file, remove_store_file
from chat.models import IndexStatus, StoreFile, VectorStore
from tenants.admin import Button, Group, TenantScopedAdmin, site
from tenants.authentication import Principal

READ_LABELS = {
    IndexStatus.COMPLETED.value: "success",
    IndexStatus.IN_PROGRESS.value: "info",
    IndexStatus.FAILED.value: "danger",
    IndexStatus.CANCELLED.value: "default",
}
SHOWN_CHARACTERS = 4000


def get_company_stores(principal: Principal) -> models.QuerySet[Any]:
    """Return the company's collections; members' own are excluded."""
    rows: models.QuerySet[Any] = VectorStore.objects.visible_to(principal).filter(member=None)
    return rows


def get_indexing_result(row: StoreFile) -> str:
    """Return the indexing result: the error message or the number of passages."""
    if row.status == IndexStatus.FAILED:
        return row.error_message
    if row.status != IndexStatus.COMPLETED:
        return ""
    return ngettext("one passage", "{count} passages", row.chunk_count).format(
        count=row.chunk_count
    )


def can_reindex(row: StoreFile) -> bool:
    """Return True if indexing ended without a text."""
    return row.status in (IndexStatus.FAILED, IndexStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class DocumentRow:
    """Document in a collection's list, with its status and the URLs of its buttons."""

    row: StoreFile
    status: str
    outcome: str
    page: str
    again: str
    remove: str


def list_documents(store: VectorStore, *, most: int) -> list[DocumentRow]:
    """Return the newest documents of a collection."""
    rows = StoreFile.objects.filter(store=store).select_related("file").defer("text", "pages")
    return [
        DocumentRow(
            row=row,
            status=str(row.get_status_display()),
            outcome=get_indexing_result(row),
            page=reverse("admin:chat_storefile_change", args=[row.pk]),
            again=_build_button_url(row, "again") if can_reindex(row) else "",
            remove=_build_button_url(row, "remove"),
        )
        for row in rows.order_by("-created_at", "-id")[:most]
    ]


def _build_button_url(row: StoreFile, button: str) -> str:
    return reverse("admin:chat_storefile_do", args=[row.pk, button])


class CollectionFilter(admin.SimpleListFilter):
    """List filter by collection."""

    title = gettext_lazy("collection")
    parameter_name = "store_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the company's collections."""
        rows = get_company_stores(request.principal)  # type: ignore[attr-defined]
        return [(row.pk, str(row)) for row in rows.order_by("name", "id")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """Return the documents of the chosen collection, none for an unknown one."""
        return queryset if self.value() is None else queryset.filter(store_id=self.value())


@admin.register(StoreFile, site=site)
class StoreFileAdmin(TenantScopedAdmin):
    """Admin of the documents of all collections; a collection's page lists its own."""

    group = Group.ASSISTANTS
    icon = "description"
    place = 2
    list_display = (
        "render_file",
        "render_store",
        "render_status",
        "outcome",
        "size",
        "get_added_at",
    )
    list_filter = (CollectionFilter, "status")
    search_fields = ("file__filename",)
    search_help_text = gettext_lazy("File name")
    ordering = ("-created_at", "-id")
    fields = (
        "render_file",
        "render_store",
        "status_text",
        "outcome",
        "size",
        "get_added_at",
        "read_at",
        "beginning",
    )
    readonly_fields = fields

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the documents of the company's collections."""
        rows: models.QuerySet[Any] = StoreFile.objects.filter(
            store__in=get_company_stores(principal)
        )
        return rows.select_related("file", "store").defer("text", "pages")

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Use the file name as the page's heading."""
        return {"row_name": row.file.filename}

    def get_return_address(self, row: Any) -> str:
        """Return the URL of the document's collection."""
        return reverse("admin:chat_vectorstore_change", args=[quote(row.store_id)])

    @display(description=gettext_lazy("document"), ordering="file__filename")
    def render_file(self, row: StoreFile) -> str:
        """Return the file name."""
        return row.file.filename

    @display(description=gettext_lazy("collection"), ordering="store__name")
    def render_store(self, row: StoreFile) -> str:
        """Render a link to the collection."""
        return format_html(
            '<a class="admin-link" href="{}">{}</a>', self.get_return_address(row), row.store
        )

    @display(description=gettext_lazy("status"), label=READ_LABELS)
    def render_status(self, row: StoreFile) -> tuple[str, str]:
        """Return the indexing status."""
        return row.status, str(row.get_status_display())

    @display(description=gettext_lazy("result"))
    def outcome(self, row: StoreFile) -> str:
        """Return the error message or the number of passages."""
        return get_indexing_result(row)

    @display(description=gettext_lazy("size"), ordering="file__bytes")
    def size(self, row: StoreFile) -> str:
        """Return the size of the file."""
        return filesizeformat(row.file.bytes)

    @display(description=gettext_lazy("added"), ordering="created_at")
    def get_added_at(self, row: StoreFile) -> str:
        """Return when the file was added to the collection."""
        return display_for_value(row.created_at, "")

    @display(description=gettext_lazy("read"))
    def read_at(self, row: StoreFile) -> str:
        """Return when indexing ended."""
        return display_for_value(row.ended_at, "")

    @display(description=gettext_lazy("start of the text"))
    def beginning(self, row: StoreFile) -> str:
        """Render the start of the extracted text, as answers quote it."""
        return format_html(
            '<pre class="admin-code" tabindex="0">{}</pre>', row.text[:SHOWN_CHARACTERS]
        )

    @staticmethod
    def read_again(principal: Principal, row: StoreFile) -> str:
        """Handle the “Read again” button."""
        reindex_store_file(principal, row.store_id, row.file_id)
        return _("{name} is being read again.").format(name=row.file.filename)

    @staticmethod
    def take_out(principal: Principal, row: StoreFile) -> str:
        """Handle the “Remove” button."""
        remove_store_file(principal, row.store_id, row.file_id)
        return _("{name} has been removed from the collection. The file itself is kept.").format(
            name=row.file.filename
        )

    buttons = (
        Button(
            name="again",
            label=gettext_lazy("Read again"),
            says=gettext_lazy("Tries to read this document again."),
            do=read_again,
            shown=lambda principal, row: can_reindex(row),
        ),
        Button(
            name="remove",
            label=gettext_lazy("Remove from the collection"),
            says=gettext_lazy("Answers no longer use this document. The file itself is kept."),
            do=take_out,
            danger=True,
        ),
    )
