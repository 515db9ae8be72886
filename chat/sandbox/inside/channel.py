"""The sandbox side of the frame protocol: reads requests and streams the output of runs."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Any

from chat.sandbox.inside import frames

LOG_BUFFER = 4096


class FrameChannel:
    """The connection to the server over standard input and output, redirected for all else."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "rb")
        self._out = os.fdopen(os.dup(1), "wb")
        self._number = 0
        _silence(0, 1)

    def report_ready(self) -> None:
        """Report that the process is isolated, and silence standard error.

        Before this call, standard error shows operators what went wrong.
        """
        _silence(2)
        self.send("ready")

    def wait_for_end(self) -> None:
        """Wait until the server closes its end, which also happens if it dies."""
        watch = select.poll()
        watch.register(self._in, 0)
        watch.poll()

    def requests(self) -> Iterator[tuple[frames.Head, bytes]]:
        """Yield the server's requests until it closes its end."""
        while (frame := frames.read(self._in)) is not None:
            self._number = frame[0]["number"]
            yield frame

    def send(self, kind: str, body: bytes = b"", /, **head: Any) -> None:
        """Send one frame immediately, as part of the response to the current request."""
        self._out.write(frames.pack({"is": kind, "number": self._number, **head}, body))
        self._out.flush()


def send_saved(channel: FrameChannel, data: bytes, *, lost: list[str], most: int) -> None:
    """Respond with a saved session, or with only its size if that exceeds `most` bytes."""
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
    """The standard output of a run, streamed to the server and truncated after `most` bytes.

    Complete lines are sent immediately, because the process may die at any moment.
    """

    encoding = "utf-8"

    def __init__(self, channel: FrameChannel, *, most: int) -> None:
        self._channel = channel
        self._left = most
        self._kept = bytearray()
        self.cut = False

    def write(self, text: str) -> int:
        """Write text, like a file object."""
        data = text.encode(errors="replace")
        self.cut = self.cut or len(data) > self._left
        self._kept += data[: self._left]
        self._left -= min(len(data), self._left)
        if "\n" in text or len(self._kept) >= LOG_BUFFER:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Send the buffered output."""
        if self._kept:
            kept, self._kept = bytes(self._kept), bytearray()
            self._channel.send("log", kept)

    def isatty(self) -> bool:
        """Return False."""
        return False
