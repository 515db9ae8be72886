"""Metadata of the published OpenAPI document."""

from __future__ import annotations

from typing import Any

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
