"""The framed protocol between the server and a session's process.

A frame is two lengths, a JSON object and raw bytes; nothing is ever unpickled from it. Requests
are numbered, and each frame of an answer bears its request's number.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

LENGTHS = struct.Struct(">II")
MAX_HEAD_LENGTH = 1024 * 1024

Head = dict[str, Any]


class FrameError(Exception):
    """Bytes that are no frame, or one above its bounds."""


def pack(head: Head, body: bytes = b"") -> bytes:
    """Return the frame's bytes."""
    return pack_head(head, size=len(body)) + body


def pack_head(head: Head, *, size: int) -> bytes:
    """Return the beginning of a frame whose body of `size` bytes comes after it."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), size) + text


def parse_lengths(data: bytes, *, most: int) -> tuple[int, int]:
    """Return the lengths of head and body. Raises FrameError above the bounds."""
    head, body = LENGTHS.unpack(data)
    if head > MAX_HEAD_LENGTH or body > most:
        raise FrameError(f"A frame of {head} and {body} bytes.")
    return head, body


def parse_head(data: bytes) -> Head:
    """Return the JSON object. Raises FrameError when it is none."""
    try:
        head = json.loads(data)
    except (ValueError, RecursionError):
        raise FrameError("A frame's head is no JSON.") from None
    if not isinstance(head, dict):
        raise FrameError("A frame's head is no object.")
    return head


def read(file: BinaryIO, *, most: int = 2**32 - 1) -> tuple[Head, bytes] | None:
    """Return the next frame of a blocking file, None at its end. Raises FrameError."""
    lengths = file.read(LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < LENGTHS.size:
        raise FrameError("Half a frame.")
    head_length, body_length = parse_lengths(lengths, most=most)
    head, body = file.read(head_length), file.read(body_length)
    if len(head) < head_length or len(body) < body_length:
        raise FrameError("Half a frame.")
    return parse_head(head), body
