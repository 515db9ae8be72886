"""Base class of admin pages for tenant-scoped models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import display_for_value, quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from tenants.admin.site import Group, get_principal, is_admin, is_owner
from tenants.authentication import Principal
from tenants.errors import AtriumError, EditConflict
from tenants.models import AuditEvent, Role

_VERSION = re.compile(r"[0-9]{1,9}")
# Maximum characters of a value quoted in a conflict message; the field keeps the full text.
MAX_SHOWN = 2000


class TenantForm(forms.ModelForm):
    """Model form that reports errors of the action, and edits saved by others meanwhile.

    `principal`, `refusal` and `last_change` are set on the class created for each request. The
    version that the form was rendered with is posted as `seen`: actions compare it under the
    row's lock.
    """

    principal: ClassVar[Principal]
    refusal: ClassVar[AtriumError | None] = None
    last_change: ClassVar[AuditEvent | None] = None
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._has_version():
            self.fields["seen"].initial = get_seen_version(self.instance)
        if isinstance(self.refusal, EditConflict) and self.is_bound:
            # Saving again overwrites the version that is displayed now.
            typed: Any = self.data
            self.data = typed.copy()
            self.data[self.add_prefix("seen")] = str(self.refusal.row.version)  # type: ignore[index]

    @property
    def is_conflict(self) -> bool:
        """Whether the form was rejected only because another edit was saved first."""
        return isinstance(self.refusal, EditConflict)

    @property
    def version(self) -> int | None:
        """Version the form was rendered with, 0 for a new row; None for unversioned models."""
        return self._version if self._has_version() else None

    def clean(self) -> dict[str, Any]:
        """Add the action's error; reject a form without the version it was rendered with."""
        cleaned: dict[str, Any] = super().clean() or {}
        seen = cleaned.pop("seen", "")
        if not self._has_version():
            pass
        elif _VERSION.fullmatch(seen) or (not seen and self.instance._state.adding):
            self._version = int(seen or 0)
        else:
            raise ValidationError(_("This form is incomplete. Reload the page."))
        if isinstance(self.refusal, EditConflict):
            raise ValidationError(self._describe_conflict(self.refusal.row))
        if self.refusal is not None:
            param = self.refusal.param
            self.add_error(param if param in self.fields else None, self.refusal.message)
        return cleaned

    def is_multipart(self) -> bool:
        """Use multipart: percent-encoding would triple long texts beyond the body limit."""
        return True

    def _post_clean(self) -> None:
        """Skip model validation: the action reads the row under a lock and validates it."""

    def _has_version(self) -> bool:
        return any(field.name == "version" for field in self._meta.model._meta.fields)

    def _describe_conflict(self, row: models.Model) -> list[Any]:
        """Return who changed the row and when, and each field that differs."""
        if self.last_change is None:
            happened = _("Someone else changed this in the meantime.")
        else:
            happened = _("{who} changed this in the meantime ({when}).").format(
                who=self.last_change.actor,
                when=display_for_value(self.last_change.created_at, ""),
            )
        advice = _("Nothing was saved. Your values are below; saving again overwrites theirs.")
        return [happened, *self._iter_differences(row), advice]

    def _iter_differences(self, row: models.Model) -> Iterator[Any]:
        current = type(self)(instance=row)
        for bound in self.visible_fields():
            now = current[bound.name].value()
            # Browsers post text areas with CRLF; the stored text has LF.
            if bound.field.has_changed(_normalize_newlines(now), _normalize_newlines(bound.data)):
                yield format_html(
                    _("<strong>{label}</strong>: the saved value is “{now}”, yours is “{typed}”."),
                    label=bound.label,
                    now=_format_value(bound.field, now),
                    typed=_format_value(bound.field, bound.data),
                )


def _normalize_newlines(value: Any) -> Any:
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def get_seen_version(row: models.Model) -> int:
    """Return the version of a row for the form's hidden field; 0 for a new row."""
    return 0 if row._state.adding else int(row.version)  # type: ignore[attr-defined]


def _format_value(field: Any, value: Any) -> str:
    """Return a field's value as displayed in a sentence."""
    if isinstance(value, bool):
        return _("on") if value else _("off")
    if isinstance(value, list | tuple):
        return ", ".join(_format_value(field, item) for item in value)
    labels = {str(key): str(label) for key, label in getattr(field, "choices", ())}
    text = "" if value is None else str(value)
    return Truncator(labels.get(text, text)).chars(MAX_SHOWN)


@dataclass(frozen=True, kw_only=True)
class Button:
    """Button for an operation on one row, other than editing it; `says` describes its effect.

    `do(principal, row)` returns the success message and manages its own transactions.
    """

    name: str
    label: Any
    says: Any
    do: Callable[[Principal, Any], str]
    shown: Callable[[Principal, Any], bool] = lambda principal, row: True
    danger: bool = False


class TenantScopedAdmin(ModelAdmin):
    """Admin of rows of the tenant in scope; writes go through `write` and `erase`.

    Adding, changing and deleting are denied unless a subclass names the required role.
    """

    group: ClassVar[Group]
    icon: ClassVar[str] = "circle"
    menu: ClassVar[Any] = ""
    delete_word: ClassVar[Any] = ""
    # Position within the menu group; ties keep the order of registration.
    place: ClassVar[int] = 0
    form = TenantForm
    may_see: ClassVar[Role] = Role.ADMIN
    may_add: ClassVar[Role | None] = None
    may_change: ClassVar[Role | None] = None
    may_delete: ClassVar[Role | None] = None
    may_press: ClassVar[Role] = Role.ADMIN
    # Key of the event data that holds this row's id, in addition to the event's subject.
    trail_key: ClassVar[str] = "id"
    buttons: ClassVar[tuple[Button, ...]] = ()
    actions = None
    show_full_result_count = False
    # Counting rows per filter would read the whole table on every visit.
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    save_as = False
    change_form_before_template = "admin/seen.html"
    change_form_outer_after_template = "admin/buttons.html"

    def get_visible_rows(self, principal: Principal) -> models.QuerySet[Any]:
        """Return the rows that `principal` may see here."""
        queryset: models.QuerySet[Any] = self.model.objects.all()
        return queryset

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return extra context for the page of a row; `row` is None when adding."""
        return {}

    def render_status(self, row: Any) -> tuple[str, str]:
        """Return the label type and text of a row's status; lists render it as a label."""
        raise NotImplementedError

    @display(description=gettext_lazy("status"))
    def status_text(self, row: Any) -> str:
        """Return the status as text for the row's own page, which renders no labels."""
        _kind, words = self.render_status(row)
        return words

    def write(self, principal: Principal, row: Any, form: Any, *, change: bool) -> Any:
        """Call the action that creates or updates; return its row."""
        raise PermissionDenied

    def erase(self, principal: Principal, row: Any) -> None:
        """Call the action that deletes."""
        raise PermissionDenied

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the visible rows in the page's order."""
        principal = get_principal(request)
        if principal is None:
            raise PermissionDenied
        queryset = self.get_visible_rows(principal)
        ordering = self.get_ordering(request)
        return queryset.order_by(*ordering) if ordering else queryset

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the row with this id, None if it is invalid, unknown or another tenant's."""
        if from_field is not None:
            return None
        if isinstance(self.model._meta.pk, models.UUIDField):
            try:
                UUID(object_id)
            except ValueError:
                return None
        elif isinstance(self.model._meta.pk, models.AutoField) and not object_id.isdecimal():
            return None
        return super().get_object(request, object_id)

    def _has_role(self, request: HttpRequest, role: Role | None) -> bool:
        if role is None:
            return False
        return is_owner(request) if role == Role.OWNER else is_admin(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the page in the menu to those who may view its rows."""
        return self._has_role(request, self.may_see)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Check the role `may_see`."""
        return self._has_role(request, self.may_see)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Check the role `may_add`."""
        return self._has_role(request, self.may_add)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Check the role `may_change`."""
        return self._has_role(request, self.may_change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Check the role `may_delete`."""
        return self._has_role(request, self.may_delete)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow only the page's filters, so that lookups cannot reveal hidden columns."""
        filters = self.get_list_filter(request) if request else self.list_filter
        names = {getattr(item, "parameter_name", item) for item in filters}
        return lookup.split("__")[0] in names and super().lookup_allowed(lookup, value, request)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form class of this request."""
        form = super().get_form(request, obj, change=change, **kwargs)
        known = {
            "principal": get_principal(request),
            "refusal": getattr(request, "refusal", None),
            "last_change": getattr(request, "last_change", None),
            "__module__": form.__module__,
        }
        return type(form)(form.__name__, (form,), known)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        """Render or save a row; an error of the action becomes an error of the form."""
        context = {
            "show_save_and_add_another": False,
            "delete_word": self.delete_word,
            "trail_address": self._get_audit_log_url(object_id),
            "row_buttons": self._list_buttons(request, object_id),
            **(extra_context or {}),
        }
        try:
            response: HttpResponseBase = super().changeform_view(
                request, object_id, form_url, context
            )
        except AtriumError as error:
            request.refusal = error  # type: ignore[attr-defined]
            if isinstance(error, EditConflict):
                request.last_change = self.get_events(request, error.row).first()  # type: ignore[attr-defined]
            response = super().changeform_view(request, object_id, form_url, context)
        return response

    def get_trail_filter(self, row: Any) -> models.Q:
        """Return the filter for the audit events about a row."""
        return models.Q(subject=str(row.pk)) | models.Q(**{f"data__{self.trail_key}": str(row.pk)})

    def get_events(self, request: HttpRequest, row: Any) -> models.QuerySet[Any]:
        """Return the audit events of a row, newest first."""
        principal = get_principal(request)
        assert principal is not None
        events: models.QuerySet[Any] = AuditEvent.objects.visible_to(principal)
        return events.filter(self.get_trail_filter(row)).order_by("-created_at")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Render the form with the extra context of its page."""
        more = self.get_page_context(request, kwargs.get("obj"))
        response: HttpResponseBase = super().render_change_form(
            request, {**context, **more}, *args, **kwargs
        )
        return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save through the action."""
        principal = get_principal(request)
        assert principal is not None
        row = self.write(principal, obj, form, change=change)
        obj.__dict__.update(row.__dict__)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Do nothing: the action saves relations."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete through the action."""
        principal = get_principal(request)
        assert principal is not None
        self.erase(principal, obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Confirm and delete; an error of the action is shown on the row's page."""
        try:
            response: HttpResponseBase = super().delete_view(request, object_id, extra_context)
        except AtriumError as error:
            messages.error(request, error.message)
            response = redirect(self._build_url("change", object_id))
        return response

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[Any, int], set[str], list[str]]:
        """List only the row itself: the database rules decide what is deleted with it."""
        names = [str(row) for row in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), []

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Render the audit log of one row."""
        row = self.get_object(request, unquote(object_id))
        if row is None or get_principal(request) is None:
            return self._redirect_missing(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "events": self.get_events(request, row)[:200],
        }
        return TemplateResponse(request, "admin/trail.html", context)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Do nothing: actions write the audit log, and Django's admin log has no table."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Do nothing, like `log_addition`."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """Do nothing, like `log_addition`."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the buttons, whose operations manage their own transactions."""
        info = self.opts.app_label, self.opts.model_name
        press = self.admin_site.admin_view(self.press_button, transactional=False)
        buttons = path("<path:object_id>/do/<slug:name>/", press, name="{}_{}_do".format(*info))
        return [buttons, *super().get_urls()]

    def press_button(self, request: HttpRequest, object_id: str, name: str) -> HttpResponseBase:
        """Run the operation of the button `name` on one row."""
        button = next((button for button in self.buttons if button.name == name), None)
        if button is None:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        principal = get_principal(request)
        if principal is None or not self._has_role(request, self.may_press):
            raise PermissionDenied
        with transaction.atomic():
            row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._redirect_missing(request, object_id)
        try:
            messages.success(request, button.do(principal, row))
        except AtriumError as error:
            messages.error(request, error.message)
        return redirect(self.get_return_address(row))

    def get_return_address(self, row: Any) -> str:
        """Return the URL to redirect to after a button: the row's page."""
        return self._build_url("change", quote(row.pk))

    def _get_audit_log_url(self, object_id: str | None) -> str:
        """Return the URL of the row's audit log, "" for rows that no action changes."""
        is_written = self.may_change or self.may_delete or self.buttons
        return self._build_url("history", object_id) if object_id and is_written else ""

    def _redirect_missing(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        response: HttpResponseBase = self._get_obj_does_not_exist_redirect(
            request, self.opts, object_id
        )
        return response

    def _build_url(self, page: str, object_id: str) -> str:
        return reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=[object_id]
        )

    def _list_buttons(self, request: HttpRequest, object_id: str | None) -> list[dict[str, Any]]:
        principal = get_principal(request)
        if principal is None or not self.buttons or not self._has_role(request, self.may_press):
            return []
        row = self.get_object(request, unquote(object_id)) if object_id else None
        if row is None:
            return []
        return [
            {
                "label": button.label,
                "says": button.says,
                "danger": button.danger,
                "url": reverse(
                    f"admin:{self.opts.app_label}_{self.opts.model_name}_do",
                    args=[quote(row.pk), button.name],
                ),
            }
            for button in self.buttons
            if button.shown(principal, row)
        ]
