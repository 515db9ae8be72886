"""Personal API keys: list, create, revoke. A secret is shown once, in the response."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from tenants import clock
from tenants.accounts.adapter import get_base_url
from tenants.accounts.forms import KeyForm, show_error
from tenants.accounts.recent_sign_in import has_recent_sign_in, redirect_to_reauthentication
from tenants.accounts.views import get_page_principal, render_errors
from tenants.actions import create_api_key, revoke_api_key
from tenants.actions.keys import DEFAULT_SCOPES
from tenants.authentication import Principal
from tenants.errors import AtriumError, NotAllowed, NotFound
from tenants.models import ACT_FOR_USERS, ApiKey


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
@render_errors
def manage_keys(request: HttpRequest) -> HttpResponse:
    """List the member's keys; on POST, create a key and show its secret once."""
    principal = _get_member_principal(request)
    recent = has_recent_sign_in(request)
    if request.method == "POST" and not recent:
        return redirect_to_reauthentication(request)
    data = request.POST if request.method == "POST" else None
    form = KeyForm(data, may_act_for_users=principal.is_admin)
    created = _create_key(principal, form) if form.is_bound and form.is_valid() else None
    if created is not None:
        form = KeyForm(may_act_for_users=principal.is_admin)
    context = {
        "form": form,
        "created": created,
        "keys": _list_own_keys(principal),
        "base_url": get_base_url(request) + "/v1",
        "recent": recent,
        "confirm_url": "" if recent else redirect_to_reauthentication(request).url,
    }
    status = 400 if form.is_bound and form.errors else 200
    return render(request, "tenants/keys.html", context, status=status)


@require_POST
@never_cache
@login_required
@render_errors
def revoke_own_key(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Revoke a key of the member."""
    principal = _get_member_principal(request)
    # Admins and owners revoke the keys of other members in the admin.
    if not any(key.pk == key_id for key in _list_own_keys(principal)):
        raise NotFound
    key = revoke_api_key(principal, key_id)
    messages.success(request, _("The key “{name}” has been revoked.").format(name=key.name))
    return HttpResponseRedirect("/keys/")


def _get_member_principal(request: HttpRequest) -> Principal:
    principal = get_page_principal(request)
    if principal is None or principal.membership is None:
        raise NotAllowed
    return principal


def _list_own_keys(principal: Principal) -> list[ApiKey]:
    """Return the usable keys of the member, newest first."""
    with transaction.atomic():
        usable_keys = ApiKey.objects.usable(clock.now()).filter(membership=principal.membership)
        return list(usable_keys.order_by("-created_at", "-id"))


def _create_key(principal: Principal, form: KeyForm) -> dict[str, str] | None:
    days = form.cleaned_data["days"]
    acts_for_users = form.cleaned_data.get(ACT_FOR_USERS)
    try:
        key, secret = create_api_key(
            principal,
            name=form.cleaned_data["name"],
            scopes=[*DEFAULT_SCOPES, *([ACT_FOR_USERS] if acts_for_users else [])],
            expires_at=clock.now() + timedelta(days=days) if days else None,
        )
    except AtriumError as error:
        show_error(form, error)
        return None
    return {"name": key.name, "secret": secret}
