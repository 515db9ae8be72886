"""Prefixed random IDs in the format of the Assistants API."""

from __future__ import annotations

import re
import secrets
from functools import partial

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 24  # 142 bits
_FORM = re.compile(r"[a-z]+[-_][0-9A-Za-z]{24}\Z")


def new_id(prefix: str) -> str:
    """Return `prefix` and 24 random characters, e.g. "asst_…"."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def is_id(value: object, prefix: str) -> bool:
    """Return True if `value` has the format of an ID with `prefix`."""
    return isinstance(value, str) and value.startswith(prefix) and bool(_FORM.match(value))


assistant_id = partial(new_id, "asst_")
thread_id = partial(new_id, "thread_")
message_id = partial(new_id, "msg_")
run_id = partial(new_id, "run_")
step_id = partial(new_id, "step_")
call_id = partial(new_id, "call_")
file_id = partial(new_id, "file-")
upload_id = partial(new_id, "upload_")
part_id = partial(new_id, "part_")
store_id = partial(new_id, "vs_")
batch_id = partial(new_id, "vsfb_")
