"""Views of the chat page and its JSON endpoints: parse, call one action or query, render."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_safe

from chat import wire
from chat.actions.send_message import create_message
from chat.actions.threads import delete_thread, rename_thread, restore_thread
from chat.errors import InvalidInput, NotFound, RateLimited
from chat.rates import count_page_request
from chat.web.assets import MODULES, STYLE_SHEETS
from chat.web.colours import derive_accent
from chat.web.context import build_page_data, list_offered_assistants
from chat.web.frames import MESSAGE_FIELDS, check_fields
from chat.web.history import (
    get_message_page,
    get_thread_page,
    render_created_message,
    require_thread_id,
)
from chat.web.http import get_endpoint, get_query_parameter, parse_body, parse_json, post_endpoint
from chat.web.readers import describe_readers
from tenants.actions import acknowledge_reading
from tenants.authentication import Principal, list_session_memberships
from tenants.error_pages import too_many_requests
from tenants.models import Membership

YEAR = 31_536_000


@require_safe
@never_cache
@ensure_csrf_cookie
def render_chat_page(request: HttpRequest, thread_id: str | None = None) -> HttpResponse:
    """Render the page with its initial data, so that it is readable without further requests."""
    principal: Principal | None = getattr(request, "principal", None)
    if principal is None or principal.membership is None or principal.key is not None:
        return _redirect_without_chats(request, principal)
    try:
        count_page_request(principal)
    except RateLimited as error:
        response = too_many_requests(request)
        response["Retry-After"] = str(error.retry_after)
        return response
    others = _list_other_memberships(request, principal.membership)
    with transaction.atomic():
        try:
            opened = get_message_page(principal, thread_id) if thread_id else None
        except NotFound:
            raise Http404 from None
        threads = get_thread_page(principal)
        data = build_page_data(request, principal, threads=threads, opened=opened)
        readers = describe_readers(principal.membership)
    return render(
        request,
        "chat/page.html",
        {
            "page_data": data,
            "page_title": _build_title(principal, opened),
            "heading": opened["thread"]["atrium"]["title"] if opened else "",
            "other_memberships": others,
            "company_initial": principal.tenant.name[:1].upper(),
            "person_name": principal.membership.name,
            "person_initial": principal.membership.name[:1].upper(),
            "modules": MODULES,
            "sheets": STYLE_SHEETS,
            "readers": readers,
        },
    )


def _list_other_memberships(request: HttpRequest, own: Membership) -> list[Membership]:
    """Return the session's other memberships; each company is read in its own scope."""
    if own.user is None:
        return []
    found = list_session_memberships(own.user, request.session)
    return [membership for membership in found if membership.pk != own.pk]


def _redirect_without_chats(request: HttpRequest, principal: Principal | None) -> HttpResponse:
    """Redirect users without chats to the admin, the no-company page or the sign-in page."""
    if principal is not None:
        return HttpResponseRedirect("/admin/")
    if request.user.is_authenticated:
        return HttpResponseRedirect("/no-company/")
    return HttpResponseRedirect(reverse("account_login"))


def _build_title(principal: Principal, opened: dict[str, Any] | None) -> str:
    title = opened["thread"]["atrium"]["title"] if opened else ""
    return f"{title} · {principal.tenant.name}" if title else principal.tenant.name


@require_GET
@cache_control(public=True, max_age=YEAR, immutable=True)
def serve_theme(request: HttpRequest, colour: str) -> HttpResponse:
    """Serve the accent CSS of a colour (six hex digits) for both schemes; publicly cacheable."""
    accent = derive_accent(f"#{colour}")
    css = f":root{{--accent-light:{accent.light};--accent-dark:{accent.dark}}}\n"
    return HttpResponse(css, content_type="text/css; charset=utf-8")


@get_endpoint
def list_threads(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return a page of chats, newest first."""
    return get_thread_page(principal, after=get_query_parameter(request, "after"))


@get_endpoint
def list_messages(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Return a page of a chat's history."""
    return get_message_page(principal, thread_id, before=get_query_parameter(request, "before"))


@get_endpoint
def list_assistants(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return the assistants that members can choose."""
    get_query_parameter(request, "")
    return {"data": list_offered_assistants()}


@get_endpoint
def get_readers(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return who can read the member's chats now, so that an open page notices changes."""
    get_query_parameter(request, "")
    assert principal.membership is not None  # nosec B101 - checked by the decorator
    return describe_readers(principal.membership)


@post_endpoint
def send_message(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Create a message that is too long for a websocket frame."""
    fields = check_fields(parse_json(request), MESSAGE_FIELDS)
    sent = create_message(
        principal,
        fields["thread"],
        assistant_id=fields["assistant"],
        content=fields["content"],
        attachments=fields["attachments"],
        client_id=fields["client_id"],
        busy=fields["busy"],
    )
    return render_created_message(sent)


@post_endpoint
def rename(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Rename a chat."""
    title = parse_body(request, {"title": str})["title"]
    return wire.thread_object(rename_thread(principal, require_thread_id(thread_id), title=title))


@post_endpoint
def delete(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Delete a chat; it can be restored for a limited time."""
    parse_body(request, {})
    delete_thread(principal, require_thread_id(thread_id))
    return {"id": thread_id, "object": "thread.deleted", "deleted": True}


@post_endpoint
def acknowledge(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Record that the member has acknowledged who can read their chats."""
    given = parse_body(request, {"through": str})["through"]
    try:
        through = parse_datetime(given)
    except ValueError:
        through = None
    if through is None or through.tzinfo is None:
        raise InvalidInput(_("This must be a date and time with a time zone."), param="through")
    acknowledge_reading(principal, through=through)
    return {"acknowledged": True}


@post_endpoint
def restore(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Restore a deleted chat."""
    parse_body(request, {})
    return wire.thread_object(restore_thread(principal, require_thread_id(thread_id)))
