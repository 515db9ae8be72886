"""The page that shows a secret once, and is kept nowhere."""

from __future__ import annotations

from django.http import HttpRequest
from django.template.response import TemplateResponse

from tenants.admin import site


def shown_once(
    request: HttpRequest, *, title: str, says: str, secret: str, onward: str
) -> TemplateResponse:
    """Return the answer to the POST that made `secret`; `onward` is where to go next."""
    context = {
        **site.each_context(request),
        "title": title,
        "says": says,
        "secret": secret,
        "onward": onward,
    }
    response = TemplateResponse(request, "admin/shown_once.html", context)
    response["Cache-Control"] = "no-store"
    return response
