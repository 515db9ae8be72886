"""Comparison of a streamed answer with the server's final event."""

from __future__ import annotations

import orjson

from chat.storable_text import make_storable
from chat.upstream.errors import StreamBroken


def get_missing_end(streamed: str, final: str) -> str:
    """Return the rest of the final text after the streamed one, ignoring surrounding white space.

    Raises:
        StreamBroken: the streamed text is not a prefix of the final one: doubled or out of order.
    """
    final = make_storable(final)
    if final.startswith(streamed):
        return final[len(streamed) :]
    if final.strip() == streamed.strip():
        return ""
    raise StreamBroken("The streamed text differs from the text of the final event.")


def get_missing_arguments(streamed: str, final: str) -> str:
    """Return the rest of the final arguments after the streamed ones.

    Raises:
        StreamBroken: the streamed arguments are neither a prefix of the final ones nor equal JSON.
    """
    try:
        return get_missing_end(streamed, final)
    except StreamBroken:
        if _is_same_json(streamed, final):
            return ""
        raise


def _is_same_json(streamed: str, final: str) -> bool:
    try:
        return bool(orjson.loads(streamed) == orjson.loads(final))
    except orjson.JSONDecodeError:
        return False
