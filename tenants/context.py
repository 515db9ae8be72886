"""Template context every page shares."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def principal(request: HttpRequest) -> dict[str, Any]:
    """Give templates `principal`, None for the signed-out."""
    return {"principal": getattr(request, "principal", None)}
