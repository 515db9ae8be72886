"""HTTP protocol of the server process, with limits per connection.

uvicorn limits neither the size of a request's header section, nor the time it takes to arrive, nor
the number of connections. Start it with `--http config.connections:HttpProtocol`, as `manage.py up`
does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache, partial
from http import HTTPStatus
from time import monotonic
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tenants.errors import build_error_body

MAX_OPEN_FILES = 65_536
# File descriptors that are not client connections: database, model servers, logs, uploads.
RESERVED_FILES = 200
RETRY_SECONDS = 10
LOG_PAUSE_SECONDS = 10.0
# The websocket library rejects more of either, and without a proper HTTP response.
MAX_HANDSHAKE_LINE, MAX_HANDSHAKE_HEADERS = 8_000, 100
# How long a client may leave a response in the server's memory without reading any of it.
STALLED_SECONDS = 60.0
FRAMING_BYTES = 1_024  # of a header section, in addition to its URL, names and values
IPV6_PREFIX = 64  # a host may use any address of its network

log = structlog.get_logger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def raise_open_file_limit() -> int:
    """Raise the open file limit of this process as far as permitted, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = MAX_OPEN_FILES if hard == unlimited else min(hard, MAX_OPEN_FILES)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return MAX_OPEN_FILES if soft == unlimited else soft


class ConnectionCount:
    """Number of open connections of this process, in total and per address.

    An IPv6 address counts with its /64 network. Loopback, trusted proxies and Unix sockets count
    only towards the total.
    """

    def __init__(self, *, total: int, per_address: int, trusted: Iterable[str]) -> None:
        self.max_total = total
        self.max_per_address = per_address
        names = [name.strip() for name in trusted]
        self._trusts_all = "*" in names
        self._trusted = [network for name in names if (network := _parse_network(name))]
        self.total = 0
        self.by_address: Counter[str] = Counter()
        self._refused = 0
        self._logged_at = -LOG_PAUSE_SECONDS

    @classmethod
    def from_settings(cls) -> ConnectionCount:
        """Return a count with the limits of the settings and of the number of open files."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        total: int = settings.CONNECTIONS
        if files != resource.RLIM_INFINITY:
            total = max(1, min(total, files - RESERVED_FILES))
        if total < settings.CONNECTIONS:
            log.warning("connection_limit_lowered", connections=total, files=files)
        return cls(
            total=total,
            per_address=settings.CONNECTIONS_PER_ADDRESS,
            trusted=settings.TRUSTED_PROXIES,
        )

    def admit(self, host: str | None) -> Callable[[], None] | None:
        """Count a connection and return its release function, or None if a limit is reached."""
        key = self._get_key(host)
        full = self.total >= self.max_total
        if full or (key is not None and self.by_address[key] >= self.max_per_address):
            self._log_refusal("all" if full else "address")
            return None
        self.total += 1
        if key is not None:
            self.by_address[key] += 1
        return partial(self._release, key)

    def _release(self, key: str | None) -> None:
        self.total -= 1
        if key is not None:
            self.by_address[key] -= 1
            if not self.by_address[key]:
                del self.by_address[key]

    def _log_refusal(self, limit: str) -> None:
        self._refused += 1
        if monotonic() - self._logged_at >= LOG_PAUSE_SECONDS:
            log.warning("connections_refused", limit=limit, refused=self._refused)
            self._refused, self._logged_at = 0, monotonic()

    def _get_key(self, host: str | None) -> str | None:
        """Return the key that a host is counted by, or None if it is exempt."""
        if not host or self._trusts_all:
            return None
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if address.is_loopback or any(address in network for network in self._trusted):
            return None
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
        return str(address)


def _parse_network(name: str) -> Network | None:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None  # the name of a Unix socket's peer, which uvicorn also accepts


@cache
def get_connection_count() -> ConnectionCount:
    """Return the count of this process, created with the first connection."""
    return ConnectionCount.from_settings()


class HttpProtocol(HttpToolsProtocol):
    """One connection; limits the size and arrival time of header sections and drops trailers.

    A refusal is an HTTP response and closes the connection. If an earlier request is still being
    answered, its response is completed first and nothing follows it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_head: int = settings.HEADER_BYTES
        self._max_fed = self._max_head + FRAMING_BYTES
        self._in_head = True
        self._head_begun = False
        self._refused = False
        # Bytes passed to the parser since the start of the header section or of the last body
        # chunk.
        self._fed = 0
        self._head_size = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._release: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and start the timeout of the first header section."""
        super().connection_made(transport)
        self._release = get_connection_count().admit(self.client[0] if self.client else None)
        if self._release is None:
            text = "Too many connections are open. Try again in a moment."
            self._refuse(503, "too_many_connections", text)
        else:
            self._start_head_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection."""
        self._cancel_deadline()
        self._cancel_stalled()
        if self._release is not None:
            self._release()
            self._release = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass data to the parser, but no more of a header section than the limit."""
        if self._deadline is None and self._in_head and not self._is_answering():
            self._start_head_timeout()
        while data and not self._refused and not self.transport.is_closing():
            size = self._max_fed + 1 - self._fed if self._in_head else len(data)
            piece, data = data[:size], data[size:]
            self._fed += len(piece)
            super().data_received(piece)
            if self._release is None:
                return  # now a websocket's connection
            if self._fed > self._max_fed or self._head_size > self._max_head:
                self._refuse_large_head()

    def on_message_begin(self) -> None:
        """Start counting a header section."""
        self._head_begun, self._head_size = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the URL."""
        self._head_size += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count and keep a header; drop a trailer, which arrives after the body."""
        if self._in_head:
            self._head_size += len(name) + len(value) + 4
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve the request, unless its header section is too large."""
        self._in_head, self._head_begun, self._fed = False, False, 0
        is_handshake = self.parser.should_upgrade() and self._should_upgrade()
        if self._head_size > self._max_head or (is_handshake and self._is_large_handshake()):
            self._refuse_large_head()
        elif is_handshake and (self._is_answering() or self._has_body()):
            self._refuse(
                400,
                "bad_handshake",
                "A websocket handshake must be the only request and have no body.",
            )
        if not self._refused:
            self._cancel_deadline()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Restart the count: the framing between the chunks of a body is limited too."""
        self._fed = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next header section."""
        self._in_head, self._fed = True, 0
        if self._refused:
            return
        super().on_message_complete()
        if self._deadline is not None:
            self._start_head_timeout()

    def on_response_complete(self) -> None:
        """Start the timeout of the rest of this body, or of the next header section."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
            return
        if self._is_answering():
            return
        if self._head_begun or not self._in_head:
            self._start_head_timeout()

    def pause_writing(self) -> None:
        """Pause, and start the timeout for the client to read."""
        super().pause_writing()
        self._start_read_timeout()

    def resume_writing(self) -> None:
        """Resume: the client reads."""
        super().resume_writing()
        self._cancel_stalled()

    def send_400_response(self, msg: str) -> None:
        """Answer an invalid request, and close."""
        super().send_400_response(msg)
        self._close()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a further request."""
        self._close()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; it stays counted until the websocket ends."""
        if self._refused:
            return
        self._cancel_deadline()
        self._cancel_stalled()
        super().handle_websocket_upgrade()
        release, self._release = self._release, None
        websocket: Any = self.transport.get_protocol()
        lost = websocket.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            if release is not None:
                release()
            lost(exc)

        websocket.connection_lost = connection_lost

    def _is_large_handshake(self) -> bool:
        """Return True if a websocket's handshake exceeds the limits of its library."""
        longest = max((len(name) + len(value) for name, value in self.headers), default=0)
        long = max(longest, len(self.url)) > MAX_HANDSHAKE_LINE
        return long or len(self.headers) > MAX_HANDSHAKE_HEADERS

    def _has_body(self) -> bool:
        headers = dict(self.headers)
        return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"

    def _start_head_timeout(self) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(settings.HEADER_SECONDS, self._handle_late_head)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _handle_late_head(self) -> None:
        if not self._in_head or (self.cycle is not None and not self._head_begun):
            self._close()  # the last request has been answered, and no other has begun
        else:
            self._refuse(408, "headers_too_slow", "The request's headers arrived too slowly.")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_large_head(self) -> None:
        text = f"The request's headers are larger than {self._max_head} bytes."
        self._refuse(431, "headers_too_large", text)

    def _refuse(self, status: int, code: str, text: str) -> None:
        """Send an error and close, after the response in progress."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._unset_keepalive_if_required()
        self._cancel_deadline()
        if self._is_answering():
            if self.pipeline or self.cycle.response_started or not self.cycle.more_body:
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(build_refusal(status, code, text))
        self._close()

    def _close(self) -> None:
        """Close, and give the client time to read what was sent."""
        self.transport.close()
        self._start_read_timeout()

    def _start_read_timeout(self) -> None:
        self._cancel_stalled()
        left = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self._check_reader, left)

    def _check_reader(self, left_before: int) -> None:
        """Abort the connection if the client has read nothing since the last check."""
        if self.transport.get_write_buffer_size() < left_before:
            self._start_read_timeout()
        else:
            self.transport.abort()

    def _cancel_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def build_refusal(status: int, code: str, text: str) -> bytes:
    """Return the bytes of an HTTP response with an error body."""
    body = json.dumps(build_error_body(code, text, status=status)).encode()
    lines = [
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: req_{uuid4().hex}",
        "connection: close",
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append(f"retry-after: {RETRY_SECONDS}")
    return STATUS_LINE[status] + "\r\n".join([*lines, "", ""]).encode() + body
