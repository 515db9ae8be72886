"""Ports that belong to a test until it is over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Lend a port of 127.0.0.1 that nobody is given meanwhile.

    Nothing listens there: who connects is refused. A server that binds it by number, with
    SO_REUSEADDR as servers do, may listen there, and another one after it.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port
