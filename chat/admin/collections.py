"""Admin of document collections and their indexing progress."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import display_for_value, quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from chat.actions.vector_stores.collection_uploads import create_documents
from chat.actions.vector_stores.manage import MAX_DAYS, create_store, delete_store, update_store
from chat.admin.documents import get_company_stores, list_documents
from chat.admin.upload_form import iter_uploads, report_uploads
from chat.conf import conf
from chat.models import Assistant, IndexStatus, VectorStore
from chat.models.resources import build_search_resources
from tenants.admin import Group, TenantForm, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal
from tenants.models import Role

SHOWN_DOCUMENTS = 200
LABELS = {"ready": "success", "reading": "info", "failed": "danger", "expired": "warning"}


class CollectionForm(TenantForm):
    """Form for the name, description and expiry of a collection."""

    expires_days = forms.IntegerField(
        label=gettext_lazy("Days until expiry"),
        required=False,
        min_value=1,
        max_value=MAX_DAYS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy(
            "Counted from its last use. An expired collection cannot be searched. "
            "Leave empty to keep it until it is deleted."
        ),
    )

    class Meta:
        model = VectorStore
        fields = ("name", "description", "expires_days")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = True
        self.fields["name"].help_text = _("Shown to admins only.")
        self.fields["description"].help_text = _("What these documents are about.")


@admin.register(VectorStore, site=site)
class VectorStoreAdmin(TenantScopedAdmin):
    """Admin of collections, with their documents and the assistants that search them."""

    group = Group.ASSISTANTS
    icon = "library_books"
    place = 1
    may_add = may_change = may_delete = Role.ADMIN
    form = CollectionForm
    list_display = (
        "title",
        "documents",
        "render_status",
        "size",
        "render_assistants",
        "created_at",
    )
    search_fields = ("name", "description")
    ordering = ("name", "id")
    fields = ("name", "description", "expires_days", "render_expiry", "render_assistants")
    readonly_fields = ("render_expiry", "render_assistants")
    change_form_outer_after_template = "admin/chat/documents.html"

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the company's collections, with counts of their documents."""
        rows: models.QuerySet[Any] = get_company_stores(principal).annotate(
            all_documents=Count("files"),
            reading=Count("files", filter=Q(files__status=IndexStatus.IN_PROGRESS)),
            failed=Count("files", filter=Q(files__status=IndexStatus.FAILED)),
            bytes=Sum("files__usage_bytes"),
        )
        return rows

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the editable fields for a new collection, all fields for an existing one."""
        return self.fields if obj else self.fields[:3]

    def write(
        self, principal: Principal, row: Any, form: TenantForm, *, change: bool
    ) -> VectorStore:
        """Create or update the collection."""
        days = form.cleaned_data["expires_days"]
        given = {
            "name": form.cleaned_data["name"],
            "description": form.cleaned_data["description"],
            "expires_after": {"anchor": "last_active_at", "days": days} if days else None,
        }
        if change:
            return update_store(principal, row.pk, version=form.version, **given)
        return create_store(principal, **given)

    def erase(self, principal: Principal, row: Any) -> None:
        """Delete the collection; its files are kept."""
        delete_store(principal, row.pk)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponseBase:
        """Redirect to the page where documents are added."""
        messages.success(
            request, _("{name} was created. Add documents below.").format(name=obj.name)
        )
        return redirect(self._build_url("change", quote(obj.pk)))

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Add the documents below the form."""
        if row is None:
            return {}
        page = reverse("admin:chat_storefile_changelist")
        return {
            "documents": list_documents(row, most=SHOWN_DOCUMENTS),
            "reading": row.reading,
            "most": conf.file_bytes,
            "more_address": f"{page}?store_id={row.pk}" if row.all_documents else "",
            "here": self._build_url("change", quote(row.pk)),
            "upload_address": "" if row.is_expired else self._build_url("upload", quote(row.pk)),
        }

    def get_urls(self) -> list[URLPattern]:
        """Add the upload URL; files are stored outside of a transaction."""
        info = self.opts.app_label, self.opts.model_name
        view = self.admin_site.admin_view(self.upload_view, transactional=False)
        upload = path("<path:object_id>/upload/", view, name="{}_{}_upload".format(*info))
        return [upload, *super().get_urls()]

    def upload_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Store several documents at once and index them in the background."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        principal = get_principal(request)
        if principal is None or not self.has_change_permission(request):
            raise PermissionDenied
        with transaction.atomic():
            row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._redirect_missing(request, object_id)
        report_uploads(
            request,
            lambda: create_documents(principal, row.pk, iter_uploads(request)),
            lambda count: ngettext(
                "One document is being read.", "{count} documents are being read.", count
            ).format(count=count),
        )
        return redirect(self._build_url("change", object_id))

    @display(description=gettext_lazy("name"), ordering="name")
    def title(self, row: Any) -> str:
        """Return the name, with the description below it."""
        return format_html(
            '<div><span class="font-semibold">{}</span><span class="admin-under">{}</span></div>',
            row,
            row.description,
        )

    @display(description=gettext_lazy("documents"), ordering="all_documents")
    def documents(self, row: Any) -> int:
        """Return the number of documents."""
        return int(row.all_documents)

    @display(description=gettext_lazy("status"), label=LABELS)
    def render_status(self, row: Any) -> tuple[str, str]:
        """Return whether the collection is ready, indexing, failed or expired."""
        if row.is_expired:
            return "expired", _("expired")
        if row.reading:
            return "reading", _("{count} being read").format(count=row.reading)
        if row.failed:
            return "failed", _("{count} failed").format(count=row.failed)
        return "ready", _("ready") if row.all_documents else _("empty")

    @display(description=gettext_lazy("size"), ordering="bytes")
    def size(self, row: Any) -> str:
        """Return the size of the search index."""
        return filesizeformat(row.bytes or 0)

    @display(description=gettext_lazy("searched by"))
    def render_assistants(self, row: Any) -> str:
        """Render links to the assistants that search the collection."""
        searching = Assistant.objects.filter(
            tool_resources__contains=build_search_resources([row.pk])
        )
        found = searching.order_by("name", "id")
        links = [(reverse("admin:chat_assistant_change", args=[quote(a.pk)]), a) for a in found]
        if not links:
            return _("no assistant")
        return format_html_join(", ", '<a class="admin-link" href="{}">{}</a>', links)

    @display(description=gettext_lazy("expires"))
    def render_expiry(self, row: Any) -> str:
        """Return when the collection expires unless it is used before."""
        return display_for_value(row.expires_at, _("never"))
