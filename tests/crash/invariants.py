"""What must hold of the rows after any crash."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from chat.models.reasons import Reason
from chat.runs.state.lifecycle import TERMINAL, TRANSITIONS
from tests.crash.model import Served
from tests.crash.seen import Messages, Seen

Connection = psycopg.Connection[tuple[Any, ...]]

_WATCH = """
CREATE SCHEMA IF NOT EXISTS crash;
CREATE TABLE crash.edge (run text, before text, after text, token_before bigint, token bigint);
CREATE FUNCTION crash.note_edge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO crash.edge VALUES (NEW.id, OLD.status, NEW.status, OLD.token, NEW.token);
    RETURN NEW;
END $$;
CREATE TRIGGER crash_edges AFTER UPDATE ON chat_run
    FOR EACH ROW EXECUTE FUNCTION crash.note_edge();
"""

# Each query returns what must not be.
_NEVER = {
    "I1 two active runs of a thread": """
        SELECT thread_id FROM chat_run
        WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling')
        GROUP BY thread_id HAVING count(*) > 1""",
    "I3 active beyond its deadline and 30 seconds": """
        SELECT id, status, expires_at FROM chat_run
        WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling')
        AND expires_at < now() - interval '30 seconds'""",
    "I5 something open in an ended run": """
        SELECT r.id, 'message' FROM chat_run r JOIN chat_message m ON m.run_ref = r.id
        WHERE r.ended_at IS NOT NULL AND m.status = 'in_progress'
        UNION ALL
        SELECT r.id, 'step' FROM chat_run r JOIN chat_runstep s ON s.run_id = r.id
        WHERE r.ended_at IS NOT NULL AND s.status = 'in_progress'
        UNION ALL
        SELECT r.id, 'call' FROM chat_run r JOIN chat_toolcall c ON c.run_id = r.id
        WHERE r.ended_at IS NOT NULL AND c.ended_at IS NULL""",
    "I5 completed without exactly one whole answer": """
        SELECT r.id, count(m.id) FROM chat_run r
        LEFT JOIN chat_message m ON m.run_ref = r.id AND m.status = 'completed'
        WHERE r.status = 'completed' GROUP BY r.id HAVING count(m.id) <> 1""",
    "I7 a place taken twice": """
        SELECT thread_id, position FROM chat_message WHERE position IS NOT NULL
        GROUP BY thread_id, position HAVING count(*) > 1""",
    "I7 a place beyond the thread's last": """
        SELECT m.id FROM chat_message m JOIN chat_thread t ON t.id = m.thread_id
        WHERE m.position > t.last_position""",
    "I6 a message that waits and that nobody will answer": """
        SELECT m.id FROM chat_message m WHERE m.position IS NULL AND NOT EXISTS (
            SELECT FROM chat_run r WHERE r.thread_id = m.thread_id
            AND r.status IN ('queued', 'in_progress', 'requires_action', 'cancelling'))""",
    "I12 usage that is not the run's": """
        SELECT r.id, r.prompt_tokens, r.completion_tokens FROM chat_run r
        LEFT JOIN chat_usage u ON u.run_id = r.id AND u.outcome <> 'failed'
        WHERE r.upstream <> 'demo' GROUP BY r.id, r.prompt_tokens, r.completion_tokens HAVING
        r.prompt_tokens <> coalesce(sum(u.quantity) FILTER (WHERE u.kind = 'input_tokens'), 0) OR
        r.completion_tokens <> coalesce(sum(u.quantity) FILTER (WHERE u.kind = 'output_tokens'), 0)
        """,
    "I12 an estimate without its mark": """
        SELECT u.id, u.run_id, u.outcome FROM chat_usage u JOIN chat_run r ON r.id = u.run_id
        WHERE r.upstream <> 'demo' AND u.unit = 'token' AND (
        (u.outcome IN ('cancelled', 'expired', 'taken_over') AND NOT u.estimated)
        OR (u.outcome <> 'failed' AND u.estimated AND NOT r.usage_estimated))""",
    "I4 an older claim": "SELECT run FROM crash.edge WHERE token < token_before",
}


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A message that a client was told is stored."""

    client_id: str
    text: str
    run: str | None


def watch_edges(connection: Connection) -> None:
    """Have the database note every change of a run from now on."""
    connection.execute(_WATCH)


def check_invariants(
    connection: Connection,
    *,
    acknowledged: Mapping[str, Acknowledged],
    answer_to: Callable[[str], str],
    effects: Path,
    served: Sequence[Served],
    readers: Sequence[Seen] = (),
) -> list[str]:
    """Return a line for each breach; `acknowledged` is by client id.

    `readers` saw runs over websockets and event streams. `effects` holds a line, beginning with
    the call's id, for each effect that a tool had; `served` is the model server's own log.
    `connection` must see every tenant's rows.
    """
    found = []
    for rule, query in _NEVER.items():
        rows = connection.execute(query).fetchall()
        found += [f"{rule}: {row}" for row in rows]
    found += _edges(connection)
    found += _messages(connection, acknowledged)
    found += _answers(connection, answer_to)
    found += _effects(connection, effects)
    found += _metering(connection, served)
    found += _readers(connection, readers)
    return found


def _readers(connection: Connection, readers: Sequence[Seen]) -> list[str]:
    """I9: who read to the end of a run has the messages that are stored, and no other."""
    rows = connection.execute(
        "SELECT run_ref, id, status, coalesce((SELECT string_agg(part->'text'->>'value', '') "
        "FROM jsonb_array_elements(content) part WHERE part->>'type' = 'text'), '') "
        "FROM chat_message WHERE role = 'assistant' AND run_ref = ANY(%s)",
        [[seen.run for seen in readers]],
    ).fetchall()
    stored: dict[str, Messages] = defaultdict(dict)
    for run, message, status, text in rows:
        stored[run][message] = (status, text)
    ended = [seen for seen in readers if seen.ended is not None]
    return [breach for seen in ended for breach in seen.breaches(stored[seen.run])]


def _edges(connection: Connection) -> list[str]:
    """I2, and what is terminal is final."""
    allowed = {(str(a), str(b)) for a, targets in TRANSITIONS.items() for b in targets}
    rows = connection.execute("SELECT run, before, after FROM crash.edge").fetchall()
    final = {str(status) for status in TERMINAL}
    return [
        f"I2 {run} went from {before} to {after}"
        for run, before, after in rows
        if before in final or (before != after and (before, after) not in allowed)
    ]


def _messages(connection: Connection, acknowledged: Mapping[str, Acknowledged]) -> list[str]:
    """I6: each acknowledged message is there once, with its text."""
    rows = connection.execute(
        "SELECT client_id, content->0->'text'->>'value' FROM chat_message "
        "WHERE role = 'user' AND client_id IS NOT NULL"
    ).fetchall()
    stored = Counter(client_id for client_id, _text in rows)
    texts: dict[str, str] = dict(rows)
    return [
        f"I6 {sent.text!r} is stored {stored[sent.client_id]} times: {texts.get(sent.client_id)!r}"
        for sent in acknowledged.values()
        if stored[sent.client_id] != 1 or texts[sent.client_id] != sent.text
    ]


def _answers(connection: Connection, answer_to: Callable[[str], str]) -> list[str]:
    """I5, I7, I11: completed is whole; cut is a beginning; failed says why."""
    rows = connection.execute(
        "SELECT r.id, r.status, r.reason, q.content->0->'text'->>'value', "
        "m.status, m.content->0->'text'->>'value' FROM chat_run r "
        "LEFT JOIN chat_message q ON q.thread_id = r.thread_id AND q.position = r.through_position "
        "LEFT JOIN chat_message m ON m.run_ref = r.id AND m.role = 'assistant' "
        "WHERE q.client_id LIKE 'crash-%'"
    ).fetchall()
    found = []
    for run, status, reason, question, message_status, text in rows:
        whole = answer_to(question)
        if status == "completed" and message_status == "completed" and text != whole:
            found.append(f"I5 {run} is completed with {text!r}")
        if not whole.startswith(text or ""):
            found.append(f"I7 {run} says what the model did not: {text!r}")
        if status in ("failed", "incomplete", "expired") and reason not in Reason.values:
            found.append(f"I11 {run} is {status} for {reason!r}")
    return found


def _effects(connection: Connection, effects: Path) -> list[str]:
    """I8: at most one effect of each call, and one of each that is complete."""
    rows = connection.execute("SELECT id, status FROM chat_toolcall WHERE name = 'note'").fetchall()
    lines = effects.read_text().splitlines() if effects.exists() else []
    counted = Counter(line.split()[0] for line in lines)
    found = [f"I8 {call} had {times} effects" for call, times in counted.items() if times > 1]
    for call, status in rows:
        if status == "completed" and counted[call] != 1:
            found.append(f"I8 {call} is complete without an effect")
        if status in ("cancelled", "refused", "declined") and counted[call]:
            found.append(f"I8 {call} is {status} and had an effect")
    runs = connection.execute(
        "SELECT run_id, count(*) FROM chat_toolcall WHERE name = 'note' "
        "GROUP BY run_id HAVING count(*) > 1"
    ).fetchall()
    return found + [f"I8 {run} called {times} times" for run, times in runs]


_METERED = """
SELECT r.id, q.content->0->'text'->>'value', r.token, u.outcome,
    coalesce(sum(u.quantity) FILTER (WHERE u.kind = 'input_tokens'), 0)::int,
    coalesce(sum(u.quantity) FILTER (WHERE u.kind = 'output_tokens'), 0)::int
FROM chat_run r
JOIN chat_message q ON q.thread_id = r.thread_id AND q.position = r.through_position
LEFT JOIN chat_usage u ON u.run_id = r.id AND u.unit = 'token'
WHERE q.client_id LIKE 'crash-%' AND r.ended_at IS NOT NULL
GROUP BY r.id, q.content, r.token, u.outcome, u.call
"""


@dataclass(kw_only=True)
class Metered:
    """The model calls of one question's runs, by outcome: tokens read and written."""

    runs: set[str] = field(default_factory=set)
    taken_over: bool = False
    used: Counter[tuple[int, int]] = field(default_factory=Counter)
    cut: list[tuple[int, int]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many calls were metered."""
        return self.used.total() + len(self.cut)

    @property
    def output_tokens(self) -> int:
        """What was metered as written, of all calls."""
        return sum(written * count for (_read, written), count in self.used.items()) + sum(
            written for _read, written in self.cut
        )


def _metering(connection: Connection, served: Sequence[Served]) -> list[str]:
    """I12: what is metered is what the model server counted itself, as far as it was received."""
    metered: dict[str, Metered] = defaultdict(Metered)
    for run, question, token, outcome, read, written in connection.execute(_METERED).fetchall():
        one = metered[question]
        one.runs.add(run)
        one.taken_over = one.taken_over or token > 1
        if outcome == "used":
            one.used[read, written] += 1
        elif outcome is not None:
            one.cut.append((read, written))
    by_question: dict[str, list[Served]] = defaultdict(list)
    for request in served:
        by_question[request.question].append(request)
    found: list[str] = []
    for question, one in metered.items():
        found += [
            f"I12 {sorted(one.runs)} {what}"
            for what in compare_metering(one, by_question[question])
        ]
    return found


def compare_metering(metered: Metered, served: Sequence[Served]) -> Iterator[str]:
    """Yield what is metered otherwise than the model server counted it."""
    whole = Counter((item.input_tokens, item.sent_tokens) for item in served if item.whole)
    if more := metered.used - whole:
        yield f"used {dict(more)}, which was not served"
    sent = sum(item.sent_tokens for item in served)
    if metered.output_tokens > sent:
        yield f"{metered.output_tokens} tokens are metered, {sent} were sent"
    if not metered.taken_over and metered.calls != len(served):
        yield f"{metered.calls} calls are metered, {len(served)} were served"
    # Of several claims each has a call; the last requests of a process that froze may be lost.
    least = min(len(served), metered.used.total() + 1)
    if metered.taken_over and metered.calls < least:
        yield f"{metered.calls} calls are metered, at least {least} of {len(served)} were lost"
    if any(not read for read, _written in metered.cut):
        yield "a call was cut and has no prompt"
