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
from chat.actions.sending import create_message
from chat.actions.threads import delete_thread, rename_thread, restore_thread
from chat.errors import InvalidInput, NotFound, RateLimited
from chat.rates import count_page_request
from chat.web.answers import render_created_message
from chat.web.assets import MODULES, STYLE_SHEETS
from chat.web.colours import accent_of
from chat.web.context import list_offered_assistants, page_data
from chat.web.frames import MESSAGE, check_fields
from chat.web.history import message_page, thread_form, thread_page
from chat.web.http import acts, body_of, json_of, query_of, reads
from chat.web.readers import describe_readers
from tenants.actions import acknowledge_reading
from tenants.authentication import Principal, memberships_for_session
from tenants.error_pages import too_many_requests
from tenants.models import Membership

YEAR = 31_536_000


@require_safe
@never_cache
@ensure_csrf_cookie
def chat_page(request: HttpRequest, thread_id: str | None = None) -> HttpResponse:
    """Render the page with its initial data, so that it is readable without further requests."""
    principal: Principal | None = getattr(request, "principal", None)
    if principal is None or principal.membership is None or principal.key is not None:
        return _elsewhere(request, principal)
    try:
        count_page_request(principal)
    except RateLimited as error:
        response = too_many_requests(request)
        response["Retry-After"] = str(error.retry_after)
        return response
    others = _other_memberships(request, principal.membership)
    with transaction.atomic():
        try:
            opened = message_page(principal, thread_id) if thread_id else None
        except NotFound:
            raise Http404 from None
        threads = thread_page(principal)
        data = page_data(request, principal, threads=threads, opened=opened)
        readers = describe_readers(principal.membership)
    return render(
        request,
        "chat/page.html",
        {
            "page_data": data,
            "page_title": _title(principal, opened),
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


def _other_memberships(request: HttpRequest, own: Membership) -> list[Membership]:
    """Return the session's other memberships; each company is read in its own scope."""
    if own.user is None:
        return []
    found = memberships_for_session(own.user, request.session)
    return [membership for membership in found if membership.pk != own.pk]


def _elsewhere(request: HttpRequest, principal: Principal | None) -> HttpResponse:
    """Redirect users without chats to the admin, the no-company page or the sign-in page."""
    if principal is not None:
        return HttpResponseRedirect("/admin/")
    if request.user.is_authenticated:
        return HttpResponseRedirect("/no-company/")
    return HttpResponseRedirect(reverse("account_login"))


def _title(principal: Principal, opened: dict[str, Any] | None) -> str:
    title = opened["thread"]["atrium"]["title"] if opened else ""
    return f"{title} · {principal.tenant.name}" if title else principal.tenant.name


@require_GET
@cache_control(public=True, max_age=YEAR, immutable=True)
def theme(request: HttpRequest, colour: str) -> HttpResponse:
    """Serve the accent CSS of a colour (six hex digits) for both schemes; publicly cacheable."""
    accent = accent_of(f"#{colour}")
    css = f":root{{--accent-light:{accent.light};--accent-dark:{accent.dark}}}\n"
    return HttpResponse(css, content_type="text/css; charset=utf-8")


@reads
def list_threads(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return a page of chats, newest first."""
    return thread_page(principal, after=query_of(request, "after"))


@reads
def list_messages(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Return a page of a chat's history."""
    return message_page(principal, thread_id, before=query_of(request, "before"))


@reads
def list_assistants(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return the assistants that members can choose."""
    query_of(request, "")
    return {"data": list_offered_assistants()}


@reads
def show_readers(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Return who can read the member's chats now, so that an open page notices changes."""
    query_of(request, "")
    assert principal.membership is not None  # nosec B101 - checked by the decorator
    return describe_readers(principal.membership)


@acts
def send_message(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Create a message that is too long for a websocket frame."""
    fields = check_fields(json_of(request), MESSAGE)
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


@acts
def rename(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Rename a chat."""
    title = body_of(request, {"title": str})["title"]
    return wire.thread_object(rename_thread(principal, thread_form(thread_id), title=title))


@acts
def delete(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Delete a chat; it can be restored for a limited time."""
    body_of(request, {})
    delete_thread(principal, thread_form(thread_id))
    return {"id": thread_id, "object": "thread.deleted", "deleted": True}


@acts
def acknowledge(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    """Record that the member has acknowledged who can read their chats."""
    given = body_of(request, {"through": str})["through"]
    try:
        through = parse_datetime(given)
    except ValueError:
        through = None
    if through is None or through.tzinfo is None:
        raise InvalidInput(_("This must be a date and time with a time zone."), param="through")
    acknowledge_reading(principal, through=through)
    return {"acknowledged": True}


@acts
def restore(request: HttpRequest, principal: Principal, thread_id: str) -> dict[str, Any]:
    """Restore a deleted chat."""
    body_of(request, {})
    return wire.thread_object(restore_thread(principal, thread_form(thread_id)))
