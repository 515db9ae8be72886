"""What every view of the API is: who asks, what comes in, what leaves, and how errors look."""

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
from chat.api import pages
from chat.api.errors import MissingBeta, MissingKey, framework_refusal, refusal
from chat.api.fields import Input, read_input
from chat.api.idempotency import forget_earlier, once
from chat.api.throttles import count_request
from chat.api.version1 import from_version1, to_version1
from chat.errors import InvalidInput
from chat.json_input import parse_json_body
from chat.rates import Rate
from tenants.actions import admit_user
from tenants.authentication import Principal
from tenants.db import release_connection
from tenants.errors import AtriumError, BeyondKey
from tenants.outages import outage_of

POLL_HEADER = "openai-poll-after-ms"
_VERSION = re.compile(r'"([0-9]{1,9})"')
BETAS = {"assistants=v2": 2, "assistants=v1": 1}


class AlwaysJson(BaseContentNegotiation):
    """Whatever a client says it accepts, answers are JSON; streams are the view's own."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        """Bodies are read by `ApiView.input`."""
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        """Return the only one."""
        return JSONRenderer(), "application/json"


class ApiView(APIView):
    """A view below /v1: parse, call one action (or read for the principal), render by wire.

    `beta` is False where no OpenAI-Beta header is asked for; `write_scope` is what a key
    needs for anything but reading. A view method takes
    `request` and the ids of its path, uses `self.input` and `self.query`, and
    returns `self.answer` of a wire object or `self.page`. AtriumError anywhere becomes its
    answer. Reads open `transaction.atomic()`; actions own theirs.

    Every POST is carried out once for each Idempotency-Key, and once for what an official
    client sends again by itself; `guards_retries` is False only where it changes nothing. A
    view that `guards_itself` does work ahead of the transaction, and sees to what has to be
    done once; one that `reads_form` sets `digest`, which tells the form from others.
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
    content_negotiation_class = AlwaysJson

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "post" in vars(cls) and not cls.guards_itself:
            cls.post = once(cls.post)  # type: ignore[attr-defined]

    @property
    def principal(self) -> Principal:
        """Who asks: always by key."""
        principal: Principal = self.request._request.principal  # type: ignore[attr-defined]
        return principal

    @property
    def is_keyless(self) -> bool:
        """True for signed-in browsers too: no cookie acts here, so no other site can."""
        principal: Principal | None = getattr(self.request._request, "principal", None)
        return principal is None or principal.key is None

    def check_key(self) -> None:
        """Refuse who sent none."""
        if self.is_keyless:
            raise MissingKey()

    def check_rate(self, *, times: int = 1) -> None:
        """Count the request, also one that is refused for something else."""
        self.rate = count_request(self.principal, times=times)
        self.rate.check()

    def check_scope(self) -> None:
        """Refuse what the key was not made for."""
        scope = "read" if self.request.method in ("GET", "HEAD") else self.write_scope
        if not self.principal.may(scope):
            raise BeyondKey(f"This API key does not have the scope for this: {scope}.")

    def admit_user(self) -> None:
        """Make a member of a user whom the program names for the first time."""
        request: Any = self.request._request
        request.principal = admit_user(self.principal)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse who may not ask, asks too often, or speaks another protocol."""
        self.check_key()
        self.check_rate()
        self.check_scope()
        self.admit_user()
        super().initial(request, *args, **kwargs)
        if self.beta:
            self.version = assistants_version(request.headers.get("OpenAI-Beta", ""))

    def body_digest(self) -> str:
        """Return what tells this body from others."""
        digest: str = self.digest or self.request._request.body.hex()
        return digest

    def input(self, shape: type[Input]) -> dict[str, Any]:
        """Return the JSON body as `shape` reads it: only what was given, and defaults.

        Raises:
            WrongMediaType, InvalidJson: for a body that is no JSON object.
            InvalidInput: naming the parameter, nested ones as "a.b" and "a[0].b".
        """
        body = parse_json_body(self.request._request, max_bytes=settings.API_BODY_LIMIT)
        return read_input(shape, from_version1(body) if self.version == 1 else body)

    def answer(self, found: dict[str, Any], *, poll_after: int | None = None) -> Response:
        """Return a wire object, in the older spelling for who speaks that.

        `poll_after` tells a client that waits for a change when to ask again, in milliseconds.
        """
        headers = None if poll_after is None else {POLL_HEADER: str(poll_after)}
        return Response(to_version1(found) if self.version == 1 else found, headers=headers)

    def add_etag(self, response: Response, version: int) -> Response:
        """Name the version of what is answered, for `If-Match` of a later change."""
        response["ETag"] = f'"{version}"'
        return response

    def get_expected_version(self) -> int | None:
        """Return the version that `If-Match` allows to be changed; None for any.

        Raises:
            InvalidInput: for a header that names no version.
        """
        header = self.request.headers.get("If-Match", "*").strip()
        if header == "*":
            return None
        found = _VERSION.fullmatch(header)
        if found is None:
            raise InvalidInput("The header If-Match takes one ETag, as it was answered, or *.")
        return int(found.group(1))

    def query(self, shape: type[Input]) -> dict[str, Any]:
        """Return the query parameters as `shape` reads them; raises as `input`."""
        return read_input(shape, pages.query_values(self.request._request))

    def page(
        self,
        rows: pages.Rows,
        render: Callable[[Any], dict[str, Any]],
        *,
        query: dict[str, Any],
        prefix: str,
        by: tuple[str, ...] = ("created_at", "id"),
        key: str = "pk",
    ) -> Response:
        """Return one page of `rows` (see `pages.read_page`); call it in a transaction."""
        found, has_more = pages.read_page(rows, query=query, prefix=prefix, by=by, key=key)
        return self.answer(wire.list_object([render(row) for row in found], has_more=has_more))

    def handle_exception(self, exc: Exception) -> Response:
        """Render refusals; anything else is our own failure, and config.urls' to answer."""
        if outage_of(exc) is not None:
            raise exc
        self.forget_earlier()
        if isinstance(exc, AtriumError):
            response = refusal(exc)
        elif isinstance(exc, APIException):
            response = framework_refusal(exc, self.request._request)
        else:
            raise exc
        response.exception = True
        return response

    def forget_earlier(self) -> None:
        """Let no retry of this refused request be answered for an earlier one of the same bytes."""
        if self.request.method != "POST" or not self.guards_retries or self.is_keyless:
            return
        if self.reads_form and not self.digest:
            # Refused before it was read: nothing tells which form it was.
            return
        forget_earlier(self.principal, self.request._request, self.body_digest)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tell how often the key may ask; a stream goes on without a database connection."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.rate is not None:
            for name, value in self.rate.headers.items():
                response[name] = value
            if response.status_code == 429 and "Retry-After" not in response:
                response["Retry-After"] = str(self.rate.reset)
        if response.streaming:
            # Django would keep it until the last event is out.
            release_connection()
        return response

    @property
    def default_response_headers(self) -> dict[str, str]:
        """Name the methods only where another was tried."""
        if self.request.method in self.allowed_methods:
            return {}
        return {"Allow": ", ".join(self.allowed_methods)}


def assistants_version(header: str) -> int:
    """Return 2, or 1 for the older spelling.

    Raises:
        MissingBeta: when the header names neither.
    """
    for part in header.split(","):
        version = BETAS.get(part.strip().lower())
        if version is not None:
            return version
    raise MissingBeta()
