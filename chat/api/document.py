"""Serves the description at /v1/openapi.json."""

from __future__ import annotations

import json
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

from tenants.middleware import error_response

READING = ("GET", "HEAD")


@cache
def get_document() -> bytes:
    """Return the document, made when it is first asked for."""
    # What makes it takes as long to import as a third of all the rest, and few ask.
    from chat.api.schema import description

    return json.dumps(description(), ensure_ascii=False).encode()


def openapi(request: HttpRequest) -> HttpResponse:
    """Serve the description; anybody may read it."""
    if request.method not in READING:
        message = f"Not allowed to {request.method} on {request.path}."
        refused = error_response("method_not_allowed", message, status=405)
        refused["Allow"] = ", ".join(READING)
        return refused
    response = HttpResponse(get_document(), content_type="application/json")
    patch_cache_control(response, public=True, max_age=3600)
    return response
