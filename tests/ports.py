"""TCP ports reserved for a test until it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a port of 127.0.0.1, which the system does not assign meanwhile.

    Nothing listens on it, so connections are refused. Servers that bind it explicitly, with
    SO_REUSEADDR as is usual, can listen on it one after another.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port
