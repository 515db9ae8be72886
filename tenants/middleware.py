"""HTTP authentication middleware, and the principal for templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone, translation
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from tenants.actions import get_or_build_external_principal, record_refused_key
from tenants.actions.external import USER_HEADER
from tenants.authentication import Principal, authenticate_key, get_session_principal
from tenants.errors import RETRY_AFTER_SECONDS, AtriumError, InvalidApiKey, build_error_body
from tenants.scope import tenant_scope

MEMBERSHIP_HEADER = "X-Atrium-Membership"


class PrincipalMiddleware:
    """Middleware that sets `request.principal` (or None) and enters its tenant's scope."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request; authenticated responses are not cached unless the view allows it."""
        response = self._serve(request)
        asks_as_somebody = request.user.is_authenticated or "Authorization" in request.headers
        if asks_as_somebody and not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response

    def _serve(self, request: HttpRequest) -> HttpResponse:
        """Authenticate, compare with the membership the page was rendered for, serve in scope."""
        try:
            principal = self._authenticate(request)
        except AtriumError as error:
            return build_json_error(
                error.code, error.message, status=error.http_status, param=error.param
            )
        request.principal = principal  # type: ignore[attr-defined]
        if principal is None:
            return self.get_response(request)
        structlog.contextvars.bind_contextvars(**get_log_ids(principal))
        asserted = request.headers.get(MEMBERSHIP_HEADER)
        if asserted is not None and asserted != str(principal.membership_id):
            return build_json_error(
                "company_changed", _("You switched companies. Reload the page."), status=409
            )
        with tenant_scope(principal.tenant_id), LocaleOverride(principal):
            return self.get_response(request)

    def _authenticate(self, request: HttpRequest) -> Principal | None:
        scheme, _sep, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            # An invalid key never falls back to a session cookie sent with the same request.
            try:
                principal = authenticate_key(secret.strip())
            except InvalidApiKey as refusal:
                if refusal.place is not None:
                    record_refused_key(*refusal.place)
                raise
            user = request.headers.get(USER_HEADER)
            return principal if user is None else get_or_build_external_principal(principal, user)
        return get_session_principal(request.user, request.session)


def get_log_ids(principal: Principal) -> dict[str, str]:
    """Return the ids that each log line of a principal contains."""
    ids = {"tenant_id": principal.tenant_id, "membership_id": principal.membership_id}
    return {name: str(value) for name, value in ids.items() if value is not None}


class LocaleOverride:
    """Context manager that activates the member's language and time zone."""

    def __init__(self, principal: Principal) -> None:
        membership = principal.membership
        self.language = translation.override(membership.language if membership else "en")
        self.zone = timezone.override(membership.zone if membership else "UTC")

    def __enter__(self) -> None:
        self.language.__enter__()
        self.zone.__enter__()

    def __exit__(self, *error: object) -> None:
        self.zone.__exit__(*error)  # type: ignore[arg-type]
        self.language.__exit__(*error)  # type: ignore[arg-type]


def build_json_error(
    code: str | None, message: str, *, status: int, param: str | None = None
) -> JsonResponse:
    """Return an error as a JSON response."""
    body = build_error_body(code, message, status=status, param=param)
    return JsonResponse(body, status=status, headers=get_retry_headers(status))


def get_retry_headers(status: int) -> dict[str, str]:
    """Return the Retry-After header for a 503, and no headers for other statuses."""
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}


def provide_principal(request: HttpRequest) -> dict[str, Any]:
    """Return `principal` for templates, None if signed out."""
    return {"principal": getattr(request, "principal", None)}
