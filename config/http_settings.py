"""Settings of HTTP responses: the Content Security Policy and the OpenAPI document's metadata."""

from __future__ import annotations

from typing import Any

DIRECTIVES = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "manifest-src": ["'self'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}


SPECTACULAR: dict[str, Any] = {
    "TITLE": "Atrium",
    "DESCRIPTION": "The Assistants API, version 2, for the assistants of one company.",
    "VERSION": "2",
    "OAS_VERSION": "3.1.0",
    "SERVERS": [{"url": "/v1"}],
    "SCHEMA_PATH_PREFIX": "/v1",
    "SCHEMA_PATH_PREFIX_TRIM": True,
    "POSTPROCESSING_HOOKS": [],
}
