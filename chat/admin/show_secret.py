"""Page that shows a secret once; the secret is not stored."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest
from django.template.response import SimpleTemplateResponse, TemplateResponse

from tenants.admin import site


def render_secret(
    request: HttpRequest, *, title: str, says: str, secret: str, onward: str
) -> SimpleTemplateResponse:
    """Return the response to the POST that created `secret`; `onward` is the next page's URL."""
    # Some callers manage their own transactions; the menu of this page needs one.
    with transaction.atomic():
        context = {
            **site.each_context(request),
            "title": title,
            "says": says,
            "secret": secret,
            "onward": onward,
        }
        return TemplateResponse(request, "admin/shown_once.html", context).render()
