"""A model server whose answer follows from the question alone, however often it is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tests.upstream.script import Answer, Call
from tests.upstream.server import Received, ScriptedServer, last_user_text

PIECES = 12
PACE = 0.05


def answer_to(question: str) -> str:
    """Return the whole text that answers `question`."""
    return "".join(pieces_of(question))


def pieces_of(question: str) -> tuple[str, ...]:
    """Return the text as it is sent: `PIECES` pieces, `PACE` seconds apart."""
    return tuple(f"{number}. {question} \N{OWL} " for number in range(PIECES))


@dataclass(frozen=True, kw_only=True)
class Served:
    """A request that the model server answered, by its own count of tokens."""

    question: str
    input_tokens: int
    sent_tokens: int
    whole: bool


def tokens_of(text: str) -> int:
    """Return what the model counts for a text: a token for four bytes."""
    return -(-len(text.encode()) // 4)


def prompt_tokens(received: Received) -> int:
    """Return what the model counts for a prompt."""
    return tokens_of(json.dumps(received.body["input"], ensure_ascii=False))


def written(answer: Answer, *, chunks: int | None = None) -> str:
    """Return what an answer says, or its first `chunks`; a call is its name and arguments."""
    if answer.say:
        return "".join(answer.say[:chunks])
    return "".join(call.name + call.arguments for call in answer.calls if chunks != 0)


class FaithfulModel(ScriptedServer):
    """Answers a question that asks for an effect, for code, or for death with that call first.

    Once `holds_next`, the next answer stands still after its first words until `go_on`.
    """

    holds_next = False

    def _plain_answer_to(self, received: Received) -> Answer:
        question = last_user_text(received.body)
        if not _has_output(received.body):
            if "effect" in question:
                return Answer(calls=(Call(name="note", arguments=f'{{"words": "{question}"}}'),))
            if question.startswith("run "):
                code = json.dumps({"code": question.removeprefix("run ")})
                return Answer(calls=(Call(name="code_interpreter", arguments=code),))
            if "poison" in question:
                return Answer(calls=(Call(name="die"),))
        held, self.holds_next = self.holds_next, False
        return Answer(say=pieces_of(question), pace=PACE, held_after=1 if held else None)

    def _answer_to(self, received: Received) -> Answer | None:
        answer = self._plain_answer_to(received)
        tokens = (prompt_tokens(received), tokens_of(written(answer)), 0, 0)
        return replace(answer, usage=tokens)

    def served(self) -> list[Served]:
        """Return what was asked for and sent up to now."""
        return [
            Served(
                question=last_user_text(received.body),
                input_tokens=prompt_tokens(received),
                sent_tokens=tokens_of(written(received.answer, chunks=received.chunks)),
                whole=received.whole,
            )
            for received in self.model_requests()
            if received.answer is not None
        ]


def _has_output(body: dict[str, object]) -> bool:
    """Tell whether a tool call came back after the last question."""
    items = body["input"]
    assert isinstance(items, list)
    for item in reversed(items):
        if item.get("type") == "function_call_output":
            return True
        if item.get("role") == "user":
            return False
    return False
