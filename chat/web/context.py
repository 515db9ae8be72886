"""Initial data for the page's scripts, and the context processor for the company's colour."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.urls import reverse

from chat.actions.assistants.tool_definitions import BUILT_IN_TOOLS
from chat.conf import conf
from chat.models import Assistant
from chat.web.words import WORDS
from chat.wire import WireObject, assistant_label
from tenants.authentication import Principal

# Maximum files per message on the page; the API allows more.
MAX_ATTACHMENTS = 10


def get_theme(request: HttpRequest) -> dict[str, Any]:
    """Add `theme_url`, the style sheet with the company's colour, to the template context."""
    principal: Principal | None = getattr(request, "principal", None)
    if principal is None:
        return {}
    return {"theme_url": reverse("theme", args=[principal.tenant.color.lstrip("#").lower()])}


def list_offered_assistants() -> list[WireObject]:
    """Return the assistants that members can choose, the default assistant first."""
    return [
        {
            **assistant_label(assistant),
            "suggested_prompts": assistant.suggested_prompts,
            "reads": _list_file_abilities(assistant),
        }
        for assistant in Assistant.objects.offered()
    ]


def _list_file_abilities(assistant: Assistant) -> list[str]:
    """Return the tools that read files, plus "images" if the model accepts images."""
    tools = [tool["type"] for tool in assistant.tools if tool["type"] in BUILT_IN_TOOLS]
    return tools if conf.is_demonstration(assistant.upstream) else [*tools, "images"]


def build_page_data(
    request: HttpRequest,
    principal: Principal,
    *,
    threads: WireObject,
    opened: WireObject | None,
) -> dict[str, Any]:
    """Return the data that `page-data.js` reads; `opened` is the history of the URL's chat."""
    membership = principal.membership
    assert membership is not None
    return {
        "membership": str(membership.pk),
        "csrf": get_token(request),
        "limits": {
            "characters": conf.message_characters,
            "bytes": settings.BODY_LIMIT,
            "frame": conf.frame_bytes,
            "file": conf.file_bytes,
            "files": MAX_ATTACHMENTS,
        },
        "company": {"name": principal.tenant.name},
        "person": {"name": membership.name, "zone": membership.zone},
        "urls": {
            "home": reverse("chat"),
            "chat": "/threads/",
            "threads": reverse("page_threads"),
            "assistants": reverse("page_assistants"),
            "files": reverse("page_files"),
            "socket": f"/ws/?membership={membership.pk}",
            "ready": "/readyz",
            "sign_in": "/accounts/login/",
            "math_css": static("chat/vendor/math.css"),
        },
        "assistants": list_offered_assistants(),
        "threads": threads,
        "opened": opened,
        "words": {key: str(text) for key, text in WORDS.items()},
    }
