"""The framed protocol between the server and a session's process.

A frame consists of two lengths, a JSON object (the head) and raw bytes (the body). Frames are
never unpickled. Requests are numbered, and each frame of a response has its request's number.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

LENGTHS = struct.Struct(">II")
MAX_HEAD_LENGTH = 1024 * 1024

Head = dict[str, Any]


class FrameError(Exception):
    """An invalid frame, or a frame that exceeds its limits."""


def pack(head: Head, body: bytes = b"") -> bytes:
    """Encode a frame."""
    return pack_head(head, size=len(body)) + body


def pack_head(head: Head, *, size: int) -> bytes:
    """Encode the lengths and the head of a frame whose body has `size` bytes."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), size) + text


def parse_lengths(data: bytes, *, most: int) -> tuple[int, int]:
    """Return the lengths of head and body. Raises FrameError if they exceed the limits."""
    head, body = LENGTHS.unpack(data)
    if head > MAX_HEAD_LENGTH or body > most:
        raise FrameError(f"A frame of {head} and {body} bytes exceeds the limits.")
    return head, body


def parse_head(data: bytes) -> Head:
    """Return the head as a dict. Raises FrameError if it is not a JSON object."""
    try:
        head = json.loads(data)
    except (ValueError, RecursionError):
        raise FrameError("A frame's head is not JSON.") from None
    if not isinstance(head, dict):
        raise FrameError("A frame's head is not an object.")
    return head


def read(file: BinaryIO, *, most: int = 2**32 - 1) -> tuple[Head, bytes] | None:
    """Read the next frame of a blocking file; return None at its end.

    Raises:
        FrameError: the frame is invalid, truncated, or exceeds the limits.
    """
    lengths = file.read(LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < LENGTHS.size:
        raise FrameError("A truncated frame.")
    head_length, body_length = parse_lengths(lengths, most=most)
    head, body = file.read(head_length), file.read(body_length)
    if len(head) < head_length or len(body) < body_length:
        raise FrameError("A truncated frame.")
    return parse_head(head), body
