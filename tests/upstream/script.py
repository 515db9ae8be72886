"""What the test upstream is told to answer. Plain data, so it travels as JSON too."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

Dialect = Literal["openai", "llamacpp", "ollama", "gemini"]
Wire = Literal["responses", "chat"]
_MARK = re.compile("【[a-z0-9]{4}:[0-9]+†[^】]*】")
_PLACE = re.compile(r"\{mark (-?[0-9]+)\}")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call; `arguments` is sent as it is, in `pieces` deltas. `id` None: one is made."""

    name: str
    arguments: str = "{}"
    id: str | None = None
    pieces: int = 2


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One reply to one model request.

    Seconds for `delay` (before the reply), `pace` (between chunks). `held_after` (chunks) keeps
    the rest until the test says that it has `read` them. `status`, `headers` and `body` make a
    reply that is no answer. Faults: `reset` (connection reset before the reply),
    `stall` (no reply until the client leaves), `end_after` (bytes of the stream, then a clean end),
    `reset_after` (the same, but a reset, once the test says that it has `read` them),
    `stall_after` (chunks, then silence), `broken_after` (chunks, then a frame that is not JSON),
    `error` (an error event after the chunks), `final` False (no final event), `done` False (no
    [DONE]), `doubled` (frames sent twice where that is harmless), `dup_events` (every frame sent
    twice), `reorder_events` (neighbouring frames swapped), `noise` (unknown events,
    comments, frames without data), `newline`, `write_size` (bytes per write), `joined` (all in
    one write), `malformed` (bytes sent in place of the stream), `unstreamed` (one JSON document).
    `expect_path` and `expect_text` are asserted against the request. In `say`, "{mark 1}" is the
    first mark of a passage in the request and "{mark -1}" the last; with `letters` each letter
    is a chunk of its own.
    """

    say: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    usage: tuple[int, int, int, int] | None = (11, 7, 3, 2)
    delay: float = 0.0
    pace: float = 0.0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    content_type: str = "application/json"
    reset: bool = False
    stall: bool = False
    reset_after: int | None = None
    end_after: int | None = None
    stall_after: int | None = None
    held_after: int | None = None
    broken_after: int | None = None
    error: dict[str, Any] | None = None
    final: bool = True
    done: bool = True
    noise: bool = False
    doubled: bool = False
    dup_events: bool = False
    reorder_events: bool = False
    newline: str = "\n"
    write_size: int | None = None
    joined: bool = False
    malformed: str | None = None
    unstreamed: bool = False
    letters: bool = False
    expect_path: str | None = None
    expect_text: str | None = None

    def said_to(self, body: Any) -> Answer:
        """Return it with the marks that the request `body` has."""
        marks = list(dict.fromkeys(_MARK.findall(json.dumps(body, ensure_ascii=False))))

        def mark(named: re.Match[str]) -> str:
            place = int(named[1])
            return str(marks[place - 1 if place > 0 else place])

        say = tuple(_PLACE.sub(mark, piece) for piece in self.say)
        return replace(self, say=tuple("".join(say)) if self.letters else say)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Answer:
        """Raises ValueError for a name that is no field."""
        known = {f.name for f in fields(cls)}
        if unknown := set(value) - known:
            raise ValueError(f"An answer has no {', '.join(sorted(unknown))}.")
        given = dict(value)
        for name in ("say", "refuse", "usage"):
            if isinstance(given.get(name), str):
                given[name] = (given[name],)
            elif given.get(name) is not None:
                given[name] = tuple(given[name])
        if "calls" in given:
            given["calls"] = tuple(Call(**call) for call in given["calls"])
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class FreeRun:
    """Endless service for measurements: `tokens` tokens at `rate` a second to every request.

    Each token is "<number>@<time.monotonic_ns when sent> ". `first` is the wait before them.
    """

    tokens: int = 200
    rate: float = 50.0
    first: float = 0.0
