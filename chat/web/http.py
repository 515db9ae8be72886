"""JSON endpoints of the chat page: authentication, parsing and error responses."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from chat.errors import InvalidInput, NotAllowed
from chat.json_input import parse_json_body
from chat.rates import count_page_request
from tenants.authentication import Principal
from tenants.errors import AtriumError
from tenants.middleware import build_json_error

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
Endpoint = Callable[Concatenate[HttpRequest, Principal, P], dict[str, Any] | HttpResponseBase]


class SignedOutError(AtriumError):
    """Sign in to continue."""

    code = "signed_out"
    http_status = 401


class WrongMethodError(AtriumError):
    """This URL does not support this method."""

    code = "method_not_allowed"
    http_status = 405


def build_error_response(error: AtriumError) -> JsonResponse:
    """Return the error response, with its message in the reader's language."""
    status, words = error.http_status, _(error.message)
    response = build_json_error(error.code, words, status=status, param=error.param)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    return response


def require_principal(request: HttpRequest) -> Principal:
    """Return the authenticated member.

    Raises:
        SignedOutError: the request has no principal.
        NotAllowed: the caller is an operator inside a company or an API key; they have no chats.
    """
    principal: Principal | None = getattr(request, "principal", None)
    if principal is None:
        raise SignedOutError()
    if principal.membership is None or principal.key is not None:
        raise NotAllowed()
    return principal


def get_endpoint(endpoint: Endpoint[P]) -> View[P]:
    """Serve GET with `endpoint`, inside one transaction."""
    return _build_view("GET", endpoint, atomic=True)


def post_endpoint(endpoint: Endpoint[P]) -> View[P]:
    """Serve POST with `endpoint`; its action owns the transaction."""
    return _build_view("POST", endpoint, atomic=False)


def delete_endpoint(endpoint: Endpoint[P]) -> View[P]:
    """Serve DELETE with `endpoint`; its action owns the transaction."""
    return _build_view("DELETE", endpoint, atomic=False)


def non_atomic_get_endpoint(endpoint: Endpoint[P]) -> View[P]:
    """Serve GET with `endpoint` outside a transaction: it reads more than rows."""
    return _build_view("GET", endpoint, atomic=False)


def dispatch_by_method(**views: View[P]) -> View[P]:
    """Serve one URL with a view per HTTP method: `get=…, post=…`."""

    def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        # The first view rejects methods that no view serves.
        chosen = views.get((request.method or "").lower(), next(iter(views.values())))
        return chosen(request, *args, **kwargs)

    return view


def _build_view(method: str, endpoint: Endpoint[P], *, atomic: bool) -> View[P]:
    @wraps(endpoint)
    def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            principal = require_principal(request)
            count_page_request(principal)
            if request.method != method:
                raise WrongMethodError()
            if not atomic:
                return _build_response(endpoint(request, principal, *args, **kwargs))
            with transaction.atomic():
                return _build_response(endpoint(request, principal, *args, **kwargs))
        except AtriumError as error:
            return build_error_response(error)

    return never_cache(view)


def _build_response(answer: dict[str, Any] | HttpResponseBase) -> HttpResponseBase:
    return answer if isinstance(answer, HttpResponseBase) else JsonResponse(answer)


def parse_json(request: HttpRequest) -> dict[str, Any]:
    """Return the request's JSON object.

    Raises:
        WrongMediaType: the content type is not JSON.
        InvalidJson: the body is not a valid JSON object, or exceeds a limit.
    """
    return parse_json_body(request, max_bytes=settings.BODY_LIMIT)


def parse_body(request: HttpRequest, fields: dict[str, type]) -> dict[str, Any]:
    """Return the request's JSON object, which must have exactly `fields` of these types.

    Raises:
        WrongMediaType: the content type is not JSON.
        InvalidJson: the body is not a valid JSON object, or exceeds a limit.
        InvalidInput: a field is missing, unknown or of another type; names the first one.
    """
    values = parse_json(request)
    for name in values:
        if name not in fields:
            raise InvalidInput(_("Unknown field."), param=name)
    for name, kind in fields.items():
        if not isinstance(values.get(name), kind):
            raise InvalidInput(_("This field is missing or has the wrong type."), param=name)
    return values


def get_query_parameter(request: HttpRequest, name: str) -> str | None:
    """Return the only query parameter that the URL accepts, or None if it is absent.

    Raises:
        InvalidInput: another parameter is present, or this one is repeated.
    """
    return get_query_parameters(request, name).get(name)


def get_query_parameters(request: HttpRequest, *names: str) -> dict[str, str]:
    """Return the query parameters among `names` that are present and not empty.

    Raises:
        InvalidInput: another parameter is present, or one is repeated.
    """
    for name, values in request.GET.lists():
        if name not in names:
            raise InvalidInput(_("Unknown parameter."), param=name)
        if len(values) > 1:
            raise InvalidInput(_("This parameter must not be repeated."), param=name)
    return {name: value for name in names if (value := request.GET.get(name))}
