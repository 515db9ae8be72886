"""Base view of the API: authentication, rate limits, parsing, rendering, error handling."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat import wire
from chat.api import pagination
from chat.api.errors import (
    MissingBeta,
    MissingKey,
    build_error_response,
    build_framework_error_response,
)
from chat.api.fields import Input, read_input
from chat.api.idempotency import delete_earlier_record, once
from chat.api.v1_compat import from_version1, to_version1
from chat.conf import conf
from chat.errors import InvalidInput
from chat.json_input import parse_json_body
from chat.rates import Rate, count
from tenants import clock
from tenants.actions import admit_user
from tenants.authentication import Principal
from tenants.db import release_connection
from tenants.errors import AtriumError, MissingScope
from tenants.outages import classify_outage

POLL_HEADER = "openai-poll-after-ms"
_VERSION = re.compile(r'"([0-9]{1,9})"')
BETAS = {"assistants=v2": 2, "assistants=v1": 1}


class JsonNegotiation(BaseContentNegotiation):
    """Content negotiation that always selects JSON; streams set their own content type."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """Return the first parser, which is not used: `ApiView.input` reads the body."""
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        """Return the JSON renderer, regardless of the Accept header."""
        return JSONRenderer(), "application/json"


class ApiView(APIView):
    """Base of views below /v1: parse, call one action (or read for the principal), render by wire.

    `beta` is False where no OpenAI-Beta header is required; `write_scope` is the scope that a
    key needs for anything but reading. A view method takes `request` and the IDs of its path,
    uses `self.input` and `self.query`, and returns `self.answer` of a wire object or
    `self.page`. An AtriumError raised anywhere becomes the error response. Reads open
    `transaction.atomic()`; actions open their own.

    Every POST is executed once per Idempotency-Key, and once for automatic retries of an
    official client; `guards_retries` is False only for a POST that changes nothing. A view
    that `guards_itself` works ahead of the transaction and applies `once` to the rest; a view
    that `reads_form` sets `digest`, which distinguishes the form from others.
    """

    beta = True
    guards_retries = True
    guards_itself = False
    reads_form = False
    digest = ""
    version = 2
    write_scope = "write"
    rate: Rate | None = None
    http_method_names = ["get", "post", "delete", "head"]
    content_negotiation_class = JsonNegotiation

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "post" in vars(cls) and not cls.guards_itself:
            cls.post = once(cls.post)  # type: ignore[attr-defined]

    @property
    def principal(self) -> Principal:
        """The authenticated caller, always identified by an API key."""
        principal: Principal = self.request._request.principal  # type: ignore[attr-defined]
        return principal

    @property
    def is_keyless(self) -> bool:
        """True also for signed-in browsers: cookies are not accepted, which prevents CSRF."""
        principal: Principal | None = getattr(self.request._request, "principal", None)
        return principal is None or principal.key is None

    def check_key(self) -> None:
        """Check that the request has an API key.

        Raises:
            MissingKey: the request has none.
        """
        if self.is_keyless:
            raise MissingKey()

    def check_rate(self, *, times: int = 1) -> None:
        """Count the request, even if it is refused afterwards for another reason.

        Raises:
            RateLimited: the key or the company has exceeded its limit.
        """
        self.rate = count_request(self.principal, times=times)
        self.rate.check()

    def check_scope(self) -> None:
        """Check that the key has the scope for this request.

        Raises:
            MissingScope: the key does not have the scope.
        """
        scope = "read" if self.request.method in ("GET", "HEAD") else self.write_scope
        if not self.principal.has_scope(scope):
            raise MissingScope(f"This API key does not have the required scope: {scope}.")

    def admit_user(self) -> None:
        """Create a member for a user whom the client names for the first time."""
        request: Any = self.request._request
        request.principal = admit_user(self.principal)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check the key, its rate limit and scope, and the protocol version."""
        self.check_key()
        self.check_rate()
        self.check_scope()
        self.admit_user()
        super().initial(request, *args, **kwargs)
        if self.beta:
            self.version = parse_assistants_version(request.headers.get("OpenAI-Beta", ""))

    def body_digest(self) -> str:
        """Return a text that distinguishes this body from others."""
        digest: str = self.digest or self.request._request.body.hex()
        return digest

    def input(self, shape: type[Input]) -> dict[str, Any]:
        """Return the validated JSON body: given fields, and defaults.

        Raises:
            WrongMediaType: the body is not declared as JSON.
            InvalidJson: the body is not a JSON object.
            InvalidInput: a field is invalid; `param` names it, nested ones as "a.b" and "a[0].b".
        """
        body = parse_json_body(self.request._request, max_bytes=settings.API_BODY_LIMIT)
        return read_input(shape, from_version1(body) if self.version == 1 else body)

    def answer(self, found: dict[str, Any], *, poll_after: int | None = None) -> Response:
        """Return the response for a wire object, converted for clients of version 1.

        `poll_after` tells a polling client when to ask again, in milliseconds.
        """
        headers = None if poll_after is None else {POLL_HEADER: str(poll_after)}
        return Response(to_version1(found) if self.version == 1 else found, headers=headers)

    def add_etag(self, response: Response, version: int) -> Response:
        """Set the ETag to the object's version, for `If-Match` of a later update."""
        response["ETag"] = f'"{version}"'
        return response

    def get_expected_version(self) -> int | None:
        """Return the version that `If-Match` requires, or None for any.

        Raises:
            InvalidInput: the header is not an ETag that names a version.
        """
        header = self.request.headers.get("If-Match", "*").strip()
        if header == "*":
            return None
        match = _VERSION.fullmatch(header)
        if match is None:
            raise InvalidInput(
                "The header If-Match must be an ETag from an earlier response, or *."
            )
        return int(match.group(1))

    def query(self, shape: type[Input]) -> dict[str, Any]:
        """Return the validated query parameters.

        Raises:
            InvalidInput: a parameter is repeated or invalid; `param` names it.
        """
        return read_input(shape, pagination.parse_query(self.request._request))

    def page(
        self,
        rows: pagination.Rows,
        render: Callable[[Any], dict[str, Any]],
        *,
        query: dict[str, Any],
        prefix: str,
        by: tuple[str, ...] = ("created_at", "id"),
        key: str = "pk",
    ) -> Response:
        """Return one page of `rows` (see `pagination.read_page`); call it in a transaction."""
        page, has_more = pagination.read_page(rows, query=query, prefix=prefix, by=by, key=key)
        return self.answer(wire.list_object([render(row) for row in page], has_more=has_more))

    def handle_exception(self, exc: Exception) -> Response:
        """Render refusals; re-raise other exceptions, which config.urls answers."""
        if classify_outage(exc) is not None:
            raise exc
        self.forget_earlier()
        if isinstance(exc, AtriumError):
            response = build_error_response(exc)
        elif isinstance(exc, APIException):
            response = build_framework_error_response(exc, self.request._request)
        else:
            raise exc
        response.exception = True
        return response

    def forget_earlier(self) -> None:
        """Delete the answer to an earlier request of the same bytes.

        Otherwise a retry of this refused request would receive it.
        """
        if self.request.method != "POST" or not self.guards_retries or self.is_keyless:
            return
        if self.reads_form and not self.digest:
            # Refused before the form was read, so its digest is unknown.
            return
        delete_earlier_record(self.principal, self.request._request, self.body_digest)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add rate limit headers; release the database connection before streaming."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.rate is not None:
            for name, value in self.rate.headers.items():
                response[name] = value
            if response.status_code == 429 and "Retry-After" not in response:
                response["Retry-After"] = str(self.rate.reset)
        if response.streaming:
            # Django would keep the connection until the last event is sent.
            release_connection()
        return response

    @property
    def default_response_headers(self) -> dict[str, str]:
        """The Allow header, only for a method that is not allowed."""
        if self.request.method in self.allowed_methods:
            return {}
        return {"Allow": ", ".join(self.allowed_methods)}


def parse_assistants_version(header: str) -> int:
    """Return the protocol version that the OpenAI-Beta header names: 2 or 1.

    Raises:
        MissingBeta: the header names neither.
    """
    for part in header.split(","):
        version = BETAS.get(part.strip().lower())
        if version is not None:
            return version
    raise MissingBeta()


def count_request(principal: Principal, *, times: int = 1) -> Rate:
    """Count a request of a key; return the tighter of the key's and the company's rate.

    A request that does the work of several counts `times`.
    """
    assert principal.key is not None
    now = clock.get_timestamp()
    rates = [
        count(f"v1:{principal.tenant_id}:{counted}", now=now, limit=limit, whose=whose, times=times)
        for whose, counted, limit in (
            ("key", principal.key.pk, conf.api_requests_per_minute),
            ("company", principal.tenant_id, conf.api_requests_per_minute_per_tenant),
        )
    ]
    return min(rates, key=lambda rate: rate.remaining)
