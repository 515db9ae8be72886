"""View of the OpenAPI document at /v1/openapi.json."""

from __future__ import annotations

import json
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control

from tenants.middleware import build_json_error

READ_METHODS = ("GET", "HEAD")


@cache
def get_document() -> bytes:
    """Return the document as JSON, built on first use."""
    # Importing the builder takes a third as long as all else together, and few requests need it.
    from chat.api.openapi.schema import description

    return json.dumps(description(), ensure_ascii=False).encode()


def serve_openapi(request: HttpRequest) -> HttpResponse:
    """Serve the OpenAPI document, without authentication."""
    if request.method not in READ_METHODS:
        message = f"Not allowed to {request.method} on {request.path}."
        refused = build_json_error("method_not_allowed", message, status=405)
        refused["Allow"] = ", ".join(READ_METHODS)
        return refused
    response = HttpResponse(get_document(), content_type="application/json")
    patch_cache_control(response, public=True, max_age=3600)
    return response
