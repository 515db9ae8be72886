"""The page that shows a secret once, and is kept nowhere."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest
from django.template.response import SimpleTemplateResponse, TemplateResponse

from tenants.admin import site


def render_secret(
    request: HttpRequest, *, title: str, says: str, secret: str, onward: str
) -> SimpleTemplateResponse:
    """Return the answer to the POST that made `secret`; `onward` is where to go next."""
    # Some callers own their transactions; the page itself needs one for its menu.
    with transaction.atomic():
        context = {
            **site.each_context(request),
            "title": title,
            "says": says,
            "secret": secret,
            "onward": onward,
        }
        return TemplateResponse(request, "admin/shown_once.html", context).render()
