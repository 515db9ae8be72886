"""Template context processor of every page."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def principal(request: HttpRequest) -> dict[str, Any]:
    """Return `principal` for templates, None if signed out."""
    return {"principal": getattr(request, "principal", None)}
