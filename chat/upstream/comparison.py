"""What was streamed of an answer beside what the server says at its end."""

from __future__ import annotations

import orjson

from chat.upstream.errors import StreamBroken
from chat.upstream.sse import storable


def missing_end(streamed: str, final: str) -> str:
    """Return what the final text has beyond the streamed one; white space around both is ignored.

    Raises:
        StreamBroken: where the streamed text is no beginning of it: doubled, or in another order.
    """
    final = storable(final)
    if final.startswith(streamed):
        return final[len(streamed) :]
    if final.strip() == streamed.strip():
        return ""
    raise StreamBroken("The text of the stream is not the text of its final event.")


def missing_arguments(streamed: str, final: str) -> str:
    """Return what the final arguments have beyond the streamed ones.

    Raises:
        StreamBroken: where the streamed ones are neither a beginning of them nor the same JSON.
    """
    try:
        return missing_end(streamed, final)
    except StreamBroken:
        if _is_same_json(streamed, final):
            return ""
        raise


def _is_same_json(one: str, other: str) -> bool:
    try:
        return bool(orjson.loads(one) == orjson.loads(other))
    except orjson.JSONDecodeError:
        return False
