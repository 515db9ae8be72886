"""Admin of the company's files, which collections and code interpreters use."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import display

from chat.actions.files.manage import delete_file, record_download
from chat.actions.vector_stores.collection_uploads import create_files
from chat.admin.upload_form import iter_uploads, report_uploads
from chat.conf import conf
from chat.downloads import build_file_response
from chat.errors import NotFound, Unavailable
from chat.models import File, StoreFile
from tenants.admin import Group, TenantScopedAdmin, get_principal, site
from tenants.authentication import Principal
from tenants.error_pages import render_error
from tenants.models import Role


def get_company_files(principal: Principal) -> models.QuerySet[Any]:
    """Return the company's files; members' own are excluded."""
    rows: models.QuerySet[Any] = File.objects.visible_to(principal).filter(member=None)
    return rows


@admin.register(File, site=site)
class FileAdmin(TenantScopedAdmin):
    """Admin of the company's files; members' own files are private."""

    group = Group.ASSISTANTS
    icon = "folder"
    place = 3
    may_add = may_delete = Role.ADMIN
    list_display = ("filename", "media_type", "size", "places", "created_at", "render_download")
    search_fields = ("filename",)
    ordering = ("-created_at", "-id")
    fields = (
        "filename",
        "media_type",
        "size",
        "purpose",
        "created_at",
        "expires_at",
        "sha256",
        "render_download",
    )
    readonly_fields = fields

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the company's files, annotated with the number of collections that hold each."""
        held = StoreFile.objects.filter(file=models.OuterRef("pk"), store__deleted_at=None)
        counted = held.order_by().values("file").annotate(n=models.Count("pk")).values("n")
        rows: models.QuerySet[Any] = get_company_files(principal).annotate(
            held=models.Subquery(counted[:1])
        )
        return rows

    def erase(self, principal: Principal, row: Any) -> None:
        """Delete the file, also from every collection."""
        delete_file(principal, row.pk)

    def get_urls(self) -> list[URLPattern]:
        """Add the download, and replace the add form with an upload of several files."""
        info = self.opts.app_label, self.opts.model_name
        add = self.admin_site.admin_view(self.upload_view, transactional=False)
        content = self.admin_site.admin_view(self.content_view, transactional=False)
        return [
            path("add/", add, name="{}_{}_add".format(*info)),
            path("<path:object_id>/content/", content, name="{}_{}_content".format(*info)),
            *super().get_urls(),
        ]

    def upload_view(self, request: HttpRequest) -> HttpResponseBase:
        """Render the upload form and store its files, outside of a transaction."""
        principal = get_principal(request)
        if principal is None or not self.has_add_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            report_uploads(
                request,
                lambda: create_files(principal, iter_uploads(request)),
                lambda count: ngettext(
                    "One file was added.", "{count} files were added.", count
                ).format(count=count),
            )
            return redirect("admin:chat_file_changelist")
        with transaction.atomic():
            context = {
                **self.admin_site.each_context(request),
                "title": _("Add files"),
                "opts": self.opts,
                "most": conf.file_bytes,
            }
            return TemplateResponse(request, "admin/chat/add_files.html", context).render()

    def content_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Send the file as an attachment, so that no browser renders it."""
        with transaction.atomic():
            row = self.get_object(request, unquote(object_id))
        principal = get_principal(request)
        if row is None or principal is None:
            return self._redirect_missing(request, object_id)
        try:
            response = build_file_response(row)
        except NotFound:
            return self._redirect_missing(request, object_id)
        except Unavailable as error:
            return render_error(request, error)
        record_download(principal, row)
        return response

    @display(description=gettext_lazy("size"), ordering="bytes")
    def size(self, row: File) -> str:
        """Return the file size."""
        return filesizeformat(row.bytes)

    @display(description=gettext_lazy("in collections"), ordering="held")
    def places(self, row: Any) -> int:
        """Return the number of collections that hold the file."""
        return int(row.held or 0)

    @display(description=gettext_lazy("download"))
    def render_download(self, row: File) -> str:
        """Render a download link."""
        address = reverse("admin:chat_file_content", args=[quote(row.pk)])
        return format_html(
            '<a class="admin-link" href="{}" aria-label="{}">{}</a>',
            address,
            _("Download {name}").format(name=row.filename),
            _("Download"),
        )
