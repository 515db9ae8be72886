"""Streams that are silent for a while, read by the official client in any of its versions.

Run by the client's own Python: `python silence.py assistant`, as `scenario.py` is. Prints the text
that each way to read a stream brought, as one JSON object; `silence.mjs` does the same in Node.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
import warnings
from typing import Any

import openai
from openai._streaming import SSEDecoder

warnings.simplefilter("ignore", DeprecationWarning)
BASE_URL, ASSISTANT = os.environ["OPENAI_BASE_URL"], sys.argv[1]
TIMEOUT = 120
client = openai.OpenAI(base_url=BASE_URL, max_retries=0, timeout=TIMEOUT)
runs: Any = client.beta.threads.runs


def new_thread() -> str:
    """Return a thread with a question."""
    messages: Any = [{"role": "user", "content": "Be silent first"}]
    return client.beta.threads.create(messages=messages).id


def text_in(events: list[tuple[str, Any]]) -> str:
    """Return the text that the deltas among these events bring."""
    return "".join(
        part["text"]["value"]
        for name, data in events
        if name == "thread.message.delta"
        for part in data["delta"]["content"]
    )


def decoded(path: str, body: Any = None) -> list[tuple[str, Any]]:
    """Return the events of a stream as the client's own decoder tells them."""
    headers = {"Authorization": f"Bearer {client.api_key}", "OpenAI-Beta": "assistants=v2"}
    data = None if body is None else json.dumps(body).encode()
    headers |= {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{BASE_URL}/{path}", data, headers)
    decoder, found = SSEDecoder(), []
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        for line in response:
            event = decoder.decode(line.decode().rstrip("\n"))
            if event is not None and not event.data.startswith("[DONE]"):
                found.append((event.event or "", json.loads(event.data)))
    return found


def by_decoder() -> list[str]:
    """Read a new run's stream, and that run again with ids."""
    thread = new_thread()
    body = {"assistant_id": ASSISTANT, "stream": True}
    events = decoded(f"threads/{thread}/runs", body)
    run = events[0][1]["id"]
    again = decoded(f"threads/{thread}/runs/{run}/events")
    return [text_in(events), text_in(again)]


def by_create() -> str:
    """Read the stream of `create(stream=True)`."""
    stream = runs.create(thread_id=new_thread(), assistant_id=ASSISTANT, stream=True)
    return text_in([(event.event, event.data.to_dict()) for event in stream])


def by_helper() -> str:
    """Read the helper's stream to its end."""
    with runs.stream(thread_id=new_thread(), assistant_id=ASSISTANT) as stream:
        return "".join(stream.text_deltas)


def main() -> None:
    """Print what each way brought; the first versions have no streams of their own."""
    saw: dict[str, Any] = {"decoder": by_decoder()}
    if hasattr(runs, "stream"):
        saw |= {"create": by_create(), "helper": by_helper()}
    sys.stdout.write(json.dumps({"version": openai.__version__, "saw": saw}))


if __name__ == "__main__":
    main()
