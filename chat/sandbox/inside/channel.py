"""The inner end of the protocol: requests in, and out what a run does while it does it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Any

from chat.sandbox.inside import frames

LOG_BUFFER = 4096


class Channel:
    """Takes over standard input and output; nothing else writes to them from then on."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb")
        self._number = 0
        _silence(0, 1)

    def ready(self) -> None:
        """Say that the walls stand; until here standard error tells an operator what is wrong."""
        _silence(2)
        self.send("ready")

    def wait_for_end(self) -> None:
        """Wait until the server's end is closed, which its death does too."""
        watch = select.poll()
        watch.register(self._in, 0)
        watch.poll()

    def requests(self) -> Iterator[tuple[frames.Head, bytes]]:
        """Yield what the server asks for, until it closes its end."""
        while (frame := frames.read(self._in)) is not None:
            self._number = frame[0]["number"]
            yield frame

    def send(self, kind: str, body: bytes = b"", /, **head: Any) -> None:
        """Send one frame, at once, as part of the answer to the request under way."""
        self._out.write(frames.pack({"is": kind, "number": self._number, **head}, body))
        self._out.flush()


def send_saved(channel: Channel, data: bytes, *, lost: list[str], most: int) -> None:
    """Answer with a saved session, or with its size when that is above `most` bytes."""
    if len(data) > most:
        channel.send("saved", size=len(data))
    else:
        channel.send("saved", data, lost=lost)


def _silence(*numbers: int) -> None:
    nowhere = os.open("/dev/null", os.O_RDWR)
    for number in numbers:
        os.dup2(nowhere, number)
    os.close(nowhere)


class Log:
    """What a run prints, sent on in pieces; what comes after `most` bytes is dropped.

    The code that prints may die at any moment, so a full line does not wait.
    """

    encoding = "utf-8"

    def __init__(self, channel: Channel, *, most: int) -> None:
        self._channel = channel
        self._left = most
        self._kept = bytearray()
        self.cut = False

    def write(self, text: str) -> int:
        """Take text as a file does."""
        data = text.encode(errors="replace")
        self.cut = self.cut or len(data) > self._left
        self._kept += data[: self._left]
        self._left -= min(len(data), self._left)
        if "\n" in text or len(self._kept) >= LOG_BUFFER:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Send what is kept back."""
        if self._kept:
            kept, self._kept = bytes(self._kept), bytearray()
            self._channel.send("log", kept)

    def isatty(self) -> bool:
        """It is none."""
        return False
