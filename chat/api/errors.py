"""Error responses below /v1, in the format of the Assistants API."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework import exceptions
from rest_framework.response import Response

from tenants.errors import AtriumError, InvalidApiKey, build_error_body
from tenants.middleware import get_retry_headers

# Errors for which the original service has another code than ours, or none.
WIRE_CODES = {
    "not_found": None,
    "thread_busy": None,
    "run_finished": None,
    "not_allowed": "permission_denied",
}


class MissingKey(InvalidApiKey):
    """You didn't provide an API key. Send it in the header Authorization: Bearer YOUR_KEY."""


class MissingBeta(AtriumError):
    """You must provide the 'OpenAI-Beta' header to access the Assistants API. \
Please try again by setting the header 'OpenAI-Beta: assistants=v2'."""  # noqa: D205

    code = "invalid_beta"


def build_error_response(error: AtriumError) -> Response:
    """Return the response for an error raised by an action or a view."""
    code = WIRE_CODES.get(error.code, error.code)
    body = build_error_body(code, error.message, status=error.http_status, param=error.param)
    headers = get_retry_headers(error.http_status)
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return Response(body, status=error.http_status, headers=headers)


def build_framework_error_response(
    error: exceptions.APIException, request: HttpRequest
) -> Response:
    """Return the response for an error of the framework: a method that is not allowed."""
    message = str(error.detail)
    if isinstance(error, exceptions.MethodNotAllowed):
        message = f"Not allowed to {request.method} on {request.path}."
    body = build_error_body(str(error.default_code), message, status=error.status_code)
    return Response(body, status=error.status_code)
