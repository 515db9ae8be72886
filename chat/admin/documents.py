"""One document of a collection: what was read of it, or why that failed."""

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

from chat.actions.store_files import reindex_store_file, remove_store_file
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


def company_stores(principal: Principal) -> models.QuerySet[Any]:
    """Return the company's collections, for its admins."""
    rows: models.QuerySet[Any] = VectorStore.objects.for_principal(principal).filter(member=None)
    return rows


def reading_of(row: StoreFile) -> str:
    """Return what reading it came to: why it failed, or into how many passages it was cut."""
    if row.status == IndexStatus.FAILED:
        return row.error_message
    if row.status != IndexStatus.COMPLETED:
        return ""
    return ngettext("one passage", "{count} passages", row.chunk_count).format(
        count=row.chunk_count
    )


def can_be_read_again(row: StoreFile) -> bool:
    """Tell whether reading it ended without a text."""
    return row.status in (IndexStatus.FAILED, IndexStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A document in the list of its collection: what is told of it, and what can be done."""

    row: StoreFile
    status: str
    outcome: str
    page: str
    again: str
    remove: str


def list_documents(store: VectorStore, *, most: int) -> list[Shown]:
    """Return the newest documents of a collection."""
    rows = StoreFile.objects.filter(store=store).select_related("file").defer("text", "pages")
    return [
        Shown(
            row=row,
            status=str(row.get_status_display()),
            outcome=reading_of(row),
            page=reverse("admin:chat_storefile_change", args=[row.pk]),
            again=_press(row, "again") if can_be_read_again(row) else "",
            remove=_press(row, "remove"),
        )
        for row in rows.order_by("-created_at", "-id")[:most]
    ]


def _press(row: StoreFile, button: str) -> str:
    return reverse("admin:chat_storefile_do", args=[row.pk, button])


class CollectionFilter(admin.SimpleListFilter):
    """By collection."""

    title = gettext_lazy("collection")
    parameter_name = "store_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the company's collections."""
        rows = company_stores(request.principal)  # type: ignore[attr-defined]
        return [(row.pk, str(row)) for row in rows.order_by("name", "id")]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """Return the documents of one of them; of none for an unknown one."""
        return queryset if self.value() is None else queryset.filter(store_id=self.value())


@admin.register(StoreFile, site=site)
class StoreFileAdmin(TenantScopedAdmin):
    """All documents, for whoever looks for one; a collection's page shows its own."""

    group = Group.ASSISTANTS
    icon = "description"
    place = 2
    list_display = ("shows_file", "shows_store", "shows_status", "outcome", "size", "added_at")
    list_filter = (CollectionFilter, "status")
    search_fields = ("file__filename",)
    search_help_text = gettext_lazy("Name of the file")
    ordering = ("-created_at", "-id")
    fields = (
        "shows_file",
        "shows_store",
        "status_text",
        "outcome",
        "size",
        "added_at",
        "read_at",
        "beginning",
    )
    readonly_fields = fields

    def visible(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the documents of the company's collections."""
        rows: models.QuerySet[Any] = StoreFile.objects.filter(store__in=company_stores(principal))
        return rows.select_related("file", "store").defer("text", "pages")

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Head the page with the file's name."""
        return {"row_name": row.file.filename}

    def get_return_address(self, row: Any) -> str:
        """Go back to the collection."""
        return reverse("admin:chat_vectorstore_change", args=[quote(row.store_id)])

    @display(description=gettext_lazy("document"), ordering="file__filename")
    def shows_file(self, row: StoreFile) -> str:
        """Its name."""
        return row.file.filename

    @display(description=gettext_lazy("collection"), ordering="store__name")
    def shows_store(self, row: StoreFile) -> str:
        """Where it is."""
        return format_html(
            '<a class="admin-link" href="{}">{}</a>', self.get_return_address(row), row.store
        )

    @display(description=gettext_lazy("status"), label=READ_LABELS)
    def shows_status(self, row: StoreFile) -> tuple[str, str]:
        """Whether it is found."""
        return row.status, str(row.get_status_display())

    @display(description=gettext_lazy("what came of it"))
    def outcome(self, row: StoreFile) -> str:
        """Why it failed, or how much there is to find."""
        return reading_of(row)

    @display(description=gettext_lazy("size"), ordering="file__bytes")
    def size(self, row: StoreFile) -> str:
        """Of the file."""
        return filesizeformat(row.file.bytes)

    @display(description=gettext_lazy("added"), ordering="created_at")
    def get_added_at(self, row: StoreFile) -> str:
        """When it came into the collection."""
        return display_for_value(row.created_at, "")

    @display(description=gettext_lazy("read"))
    def read_at(self, row: StoreFile) -> str:
        """When reading it ended."""
        return display_for_value(row.ended_at, "")

    @display(description=gettext_lazy("how it begins"))
    def beginning(self, row: StoreFile) -> str:
        """What was read of it, as answers quote it."""
        return format_html(
            '<pre class="admin-code" tabindex="0">{}</pre>', row.text[:SHOWN_CHARACTERS]
        )

    @staticmethod
    def read_again(principal: Principal, row: StoreFile) -> str:
        """Press “Read again”."""
        reindex_store_file(principal, row.store_id, row.file_id)
        return _("{name} is being read again.").format(name=row.file.filename)

    @staticmethod
    def take_out(principal: Principal, row: StoreFile) -> str:
        """Press “Remove”."""
        remove_store_file(principal, row.store_id, row.file_id)
        return _("{name} is found no more. The file itself is kept among the files.").format(
            name=row.file.filename
        )

    buttons = (
        Button(
            name="again",
            label=gettext_lazy("Read again"),
            says=gettext_lazy("Tries once more to read this document for searching."),
            do=read_again,
            shown=lambda principal, row: can_be_read_again(row),
        ),
        Button(
            name="remove",
            label=gettext_lazy("Remove from the collection"),
            says=gettext_lazy("Answers come from it no more. The file itself is kept."),
            do=take_out,
            danger=True,
        ),
    )
