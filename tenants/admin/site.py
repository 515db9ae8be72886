"""Admin site: access, rendering of pages, and the menu.

A page is a registered model or an `ExtraPage`; the menu lists both by group.
Permissions depend on the request's principal only: Django's permissions are not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from unfold.dataclasses import Favicon
from unfold.sites import UnfoldAdminSite

from tenants.authentication import Principal, has_full_access

View = Callable[..., HttpResponseBase]
# Alpine evaluates expressions and unfold inserts style elements; all else stays restricted.
CSP_ADDITION = {"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]}
# Unused Django pages: allauth manages passwords, and no field uses autocompletion.
UNUSED_VIEWS = {"password_change", "password_change_done", "search", "view_on_site", "autocomplete"}
# Replaces the theme's violet accent by the blue of the chat page's tokens.
PRIMARY = {
    "50": "#eef3fe",
    "100": "#dde7fd",
    "200": "#c0d2fb",
    "300": "#9bb8f8",
    "400": "#93b4ff",
    "500": "#7ba2ff",
    "600": "#2258d6",
    "700": "#1c49b3",
    "800": "#193f96",
    "900": "#17367d",
    "950": "#10224e",
}


class Group(models.TextChoices):
    """Menu groups, in the menu's order."""

    ASSISTANTS = "assistants", gettext_lazy("Assistants")
    CHATS = "chats", gettext_lazy("Activity")
    PEOPLE = "people", gettext_lazy("People and keys")
    COMPANY = "company", gettext_lazy("Company")
    PLATFORM = "platform", gettext_lazy("Platform")


@dataclass(frozen=True, kw_only=True)
class ExtraPage:
    """Page without a model; `allowed` decides on access and on its menu entry.

    A view that is not `transactional` opens its own transactions, because it works for
    several tenants or waits for another server. An empty `icon` hides it from the menu.
    """

    path: str
    name: str
    view: View
    allowed: Callable[[HttpRequest], bool]
    title: Any = ""
    icon: str = ""
    group: Group = Group.COMPANY
    transactional: bool = True


def get_principal(request: HttpRequest) -> Principal | None:
    """Return the signed-in principal; API keys cannot open admin pages."""
    principal: Principal | None = getattr(request, "principal", None)
    return None if principal is None or principal.key is not None else principal


def is_admin(request: HttpRequest) -> bool:
    """Return True for an admin, an owner, or an operator inside a tenant."""
    principal = get_principal(request)
    return principal is not None and principal.is_admin


def is_owner(request: HttpRequest) -> bool:
    """Return True for an owner, or an operator inside a tenant."""
    principal = get_principal(request)
    return principal is not None and principal.is_owner


def is_operator(request: HttpRequest) -> bool:
    """Return True if the signed-in person operates the platform."""
    user: Any = request.user
    if not (user.is_authenticated and user.is_operator):
        return False
    return has_full_access(request.session)


class AtriumAdminSite(UnfoldAdminSite):
    """Admin site that renders each page within one transaction: tenant queries need one."""

    index_title = gettext_lazy("Overview")
    index_template = "admin/overview.html"
    enable_nav_sidebar = True

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.pages: list[ExtraPage] = []
        self.overview: Callable[[Principal], dict[str, Any]] = lambda principal: {}

    def add_page(self, page: ExtraPage) -> None:
        """Register a page without a model; call before the URLs are loaded."""
        self.pages.append(page)

    def has_permission(self, request: HttpRequest) -> bool:
        """Allow admins and owners of the active tenant, and operators."""
        return is_admin(request) or is_operator(request)

    def admin_view(
        self, view: View, cacheable: bool = False, *, transactional: bool = True
    ) -> View:
        """Wrap a view with its access check, transaction and content security policy."""

        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not self.has_permission(request):
                raise PermissionDenied
            if "\x00" in request.path_info or _has_nul(request):
                raise BadRequest("This contains characters that are not allowed.")
            if not transactional:
                response = _render(view(request, *args, **kwargs))
            else:
                with transaction.atomic():
                    response = _render(view(request, *args, **kwargs))
            response._csp_update = CSP_ADDITION  # type: ignore[attr-defined]
            return response

        return inner if cacheable else never_cache(inner)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Return the extra pages' URLs and Django's, except the unused ones."""
        own = [
            path(
                page.path,
                self.admin_view(_restrict_to(page), transactional=page.transactional),
                name=page.name,
            )
            for page in self.pages
        ]
        theirs = super().get_urls()
        return own + [url for url in theirs if getattr(url, "name", None) not in UNUSED_VIEWS]

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to allauth, so that its rate limits and MFA apply here too."""
        target = request.GET.get("next") or reverse("admin:index")
        response: HttpResponse = redirect_to_login(target)
        return response

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to allauth, which asks for confirmation."""
        return redirect("account_logout")

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Render the tenant's overview; redirect an operator outside a tenant to the companies."""
        principal = get_principal(request)
        if principal is None or not principal.is_admin:
            return redirect("admin:companies")
        response: HttpResponse = super().index(request, self.overview(principal))
        return response

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the overview: menu groups replace the pages of Django apps."""
        return redirect("admin:index")

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the company's name, and the banner for an operator inside it."""
        principal = get_principal(request)
        context: dict[str, Any] = super().each_context(request)
        company = principal.tenant.name if principal else _("Platform")
        return {
            **context,
            "colors": {**context["colors"], "primary": PRIMARY},
            "styles": [static("tenants/admin.css")],
            "scripts": [static("tenants/admin.js")],
            "site_favicons": [
                Favicon(href=static("tenants/icon.svg"), rel="icon", type="image/svg+xml")
            ],
            "site_title": _("{company} · Atrium").format(company=company),
            "site_header": company,
            "site_subheader": _("Administration"),
            "operated_company": company if principal and principal.operator else "",
            "may_chat": principal is not None and principal.membership is not None,
        }

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return the menu: the overview, then the pages this person may open, by group."""
        entries: dict[Group, list[dict[str, Any]]] = {group: [] for group in Group}
        for page in self.pages:
            if page.icon and page.allowed(request):
                link = reverse(f"admin:{page.name}")
                entries[page.group].append(_build_menu_entry(request, page.title, page.icon, link))
        for model, page in sorted(self._registry.items(), key=lambda item: item[1].place):
            if page.has_module_permission(request):
                link = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
                title = page.menu or model._meta.verbose_name_plural
                entries[page.group].append(_build_menu_entry(request, title, page.icon, link))
        overview = _build_menu_entry(request, self.index_title, "home", reverse("admin:index"))
        overview["active"] = request.path == overview["link"]
        groups: list[dict[str, Any]] = [
            {"title": group.label, "items": items} for group, items in entries.items() if items
        ]
        return [{"items": [overview]}, *groups] if is_admin(request) else groups


def _build_menu_entry(request: HttpRequest, title: Any, icon: str, link: str) -> dict[str, Any]:
    text = str(title)
    return {
        "title": text[:1].upper() + text[1:],
        "icon": icon,
        "link": link,
        "active": request.path.startswith(link),
        "has_permission": True,
    }


def _render(response: HttpResponseBase) -> HttpResponseBase:
    if isinstance(response, SimpleTemplateResponse):
        response.render()
    return response


def _has_nul(request: HttpRequest) -> bool:
    return any("\x00" in value for _name, values in request.GET.lists() for value in values)


def _restrict_to(page: ExtraPage) -> View:
    def check_permission(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not page.allowed(request):
            raise PermissionDenied
        return page.view(request, *args, **kwargs)

    return check_permission


site = AtriumAdminSite()
