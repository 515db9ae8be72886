"""Error responses: HTML pages, or JSON for programs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from tenants.errors import AtriumError
from tenants.middleware import build_json_error, get_retry_headers
from tenants.outages import get_current_outage

JSON_PATHS = ("/page/", "/v1/")


def is_json_request(request: HttpRequest) -> bool:
    """Return True if the client is a program, judged by the path or the Accept header."""
    if request.path.startswith(JSON_PATHS):
        return True
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def render_error(request: HttpRequest, error: AtriumError) -> HttpResponse:
    """Return an action's error as a page or as JSON."""
    return _render(request, error.code, error.message, error.http_status, param=error.param)


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Return a 400 response."""
    return _render(request, "bad_request", _("This request is invalid."), 400)


def permission_denied(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Return a 403 response."""
    return _render(request, "not_allowed", _("You don't have permission to view this page."), 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return a 403 response for a missing or outdated CSRF token."""
    message = _("This form has expired. Go back, reload the page and try again.")
    return _render(request, "csrf_failed", message, 403)


def page_not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Return a 404 response, also for pages that this user may not see."""
    return _render(request, "not_found", _("This page doesn't exist."), 404)


def too_many_requests(request: HttpRequest, exception: Any = None) -> HttpResponse:
    """Return a 429 response."""
    message = _("Too many attempts. Wait a few minutes, then try again.")
    return _render(request, "too_many_requests", message, 429)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return a 500 response; without context processors, because one may be the cause."""
    outage = get_current_outage()
    if outage is not None:
        return _render_outage(request, outage)
    message = _("Something went wrong on our side. Please try again later.")
    if is_json_request(request):
        return build_json_error("server_error", message, status=500)
    return HttpResponse(
        render_to_string("tenants/error.html", _build_context(500, message)), status=500
    )


def _render_outage(request: HttpRequest, outage: AtriumError) -> HttpResponse:
    """Return the response for an unreachable database or a full disk."""
    status, message = outage.http_status, _(outage.message)
    if is_json_request(request):
        return build_json_error(outage.code, message, status=status)
    page = render_to_string("tenants/error.html", _build_context(status, message))
    return HttpResponse(page, status=status, headers=get_retry_headers(status))


def _render(
    request: HttpRequest, code: str, message: str, status: int, *, param: str | None = None
) -> HttpResponse:
    if is_json_request(request):
        return build_json_error(code, message, status=status, param=param)
    return render(request, "tenants/error.html", _build_context(status, message), status=status)


def _build_context(status: int, message: str) -> dict[str, Any]:
    titles = {
        400: _("Something went wrong"),
        403: _("Access denied"),
        404: _("Not found"),
        410: _("No longer valid"),
        429: _("Too many attempts"),
        500: _("Server error"),
        503: _("Temporarily unavailable"),
        507: _("Server disk is full"),
    }
    return {"title": titles.get(status, titles[400]), "message": message}
