"""Replies of the demonstration provider: rules over the offered tools, without own knowledge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chat.upstream import scripted_documents as documents
from chat.upstream import scripted_sums as sums
from chat.upstream.base import (
    FunctionCall,
    FunctionOutput,
    InputMessage,
    Item,
    ModelRequest,
    TextPart,
    ToolSpec,
)
from chat.upstream.scripted_arguments import FilledArguments, fill, split_identifier
from chat.upstream.scripted_code import NAME as CODE
from chat.upstream.scripted_words import describe_output, humanise, is_problem, join_words

NOT_A_MODEL = "I am a demonstration that follows fixed rules, not a language model"
ASKING = "I still need"
ANY_CASE = re.IGNORECASE
GREETING = re.compile(r"^\W*(?:hi|hello|hey|good (?:morning|day|evening)|greetings)\b", ANY_CASE)
HELP = re.compile(
    r"\b(?:help|what can you do|who are you|how do you work|what do you do)\b", ANY_CASE
)
NEVER_MIND = re.compile(
    r"^\W*(?:never ?mind|forget it|no|nothing|leave it)\b[\s\w,]*[.!]*$", ANY_CASE
)
THANKS = re.compile(
    r"^\W*(?:thanks|thank you|great|perfect|ok|okay|cheers)\b[\s\w,]*[.!]*$", ANY_CASE
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


READ = _set(
    "get where status track find look read fetch check when detail show tell see is has what how "
    "did will arrive open"
)
LIST = _set("list show all overview see browse view what which my have latest recent")
SEARCH = _set("search find look earlier before said mentioned remember")
CHANGE = _set(
    "update change set edit modify move rename correct redirect send put make switch deliver ship "
    "replace"
)
CREATE = _set("create add make new book place open register start write submit")
REMOVE = _set("cancel delete remove stop void withdraw drop annul")
MEANINGS = {
    "get": READ, "read": READ, "fetch": READ, "show": READ, "find": READ | SEARCH, "check": READ,
    "track": READ, "retrieve": READ, "list": LIST, "search": SEARCH, "look": SEARCH,
    "update": CHANGE, "change": CHANGE, "set": CHANGE, "edit": CHANGE, "move": CHANGE,
    "rename": CHANGE, "create": CREATE, "add": CREATE, "new": CREATE, "book": CREATE,
    "cancel": REMOVE, "delete": REMOVE, "remove": REMOVE, "stop": REMOVE,
}  # fmt: skip
READING = READ | LIST | SEARCH
WRITING = CHANGE | CREATE | REMOVE
KNOWING = {
    documents.NAME: "- **Answer from documents**: ask about what they say",
    CODE: "- **Compute**: attach a CSV file and ask for its totals by month, or for a chart",
}
STOP_WORDS = _set(
    "a an and any are as at be by can could do does for from has have how i if in into is it its "
    "me my new not of on one or our please that the their them this to us want was we were what "
    "when where which who will with would you your only given returns return"
)
MIN_SCORE = 4.0


@dataclass(frozen=True, kw_only=True)
class ScriptedCall:
    """A call to make."""

    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Either text or calls."""

    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()


def reply_to(request: ModelRequest) -> Reply:
    """Return the next step of the demonstration for this request. Deterministic."""
    turn = _get_turn(request.items)
    outputs = [item for item in turn if isinstance(item, FunctionOutput)]
    text = get_last_user_text(request.items)
    tools = () if request.tool_choice == "none" else request.tools
    if outputs:
        return _build_follow_up(request.items, turn, outputs, text, _find_tool(tools, CODE))
    if not tools:
        return Reply(text=_answer_without_tools(text, offered=bool(request.tools)))
    forced = _get_forced_tool(request)
    if forced is None and (GREETING.match(text) and len(text.split()) <= 4):
        return Reply(text=f"Hello! {_describe_tools(tools)}")
    asked = _find_pending_request(request.items)
    if asked is not None and NEVER_MIND.match(text):
        return Reply(text="All right, I leave it at that. Nothing was changed.")
    code_tool = _find_tool(tools, CODE) if forced in (None, "", CODE) else None
    if code := sums.begin(request.items, text, code_tool):
        return _build_code_reply(code)
    earlier = _collect_arguments(request.items)
    chosen = _choose(tools, text, asked=asked, earlier=earlier, forced=forced)
    if not forced and _is_for_documents(text, tools, chosen, asked=asked):
        return Reply(
            calls=(ScriptedCall(name=documents.NAME, arguments=documents.build_query(text)),)
        )
    if chosen is None:
        return Reply(text=_answer_unmatched(text, tools))
    tool, filled = chosen
    if filled.missing:
        return Reply(text=_ask(tool, filled.missing))
    return Reply(calls=_build_calls(tool, filled, parallel=request.parallel_tool_calls))


def _build_follow_up(
    items: tuple[Item, ...],
    turn: tuple[Item, ...],
    outputs: list[FunctionOutput],
    text: str,
    code_tool: ToolSpec | None,
) -> Reply:
    """Return the reply after this turn's outputs."""
    names = {item.call_id: item.name for item in turn if isinstance(item, FunctionCall)}
    if names.get(outputs[-1].call_id) == CODE:
        step = sums.get_next_step(items, turn, text, code_tool)
        return _build_code_reply(step.code) if step.code else Reply(text=step.text)
    said = [
        documents.build_answer(text, output.output)
        if names.get(output.call_id) == documents.NAME and not is_problem(output.output)
        else describe_output(names.get(output.call_id, ""), output.output)
        for output in outputs
    ]
    return Reply(text="\n\n".join(dict.fromkeys(said)))


def _build_code_reply(code: str) -> Reply:
    arguments = json.dumps({"code": code}, ensure_ascii=False)
    return Reply(calls=(ScriptedCall(name=CODE, arguments=arguments),))


def _find_tool(tools: Iterable[ToolSpec], name: str) -> ToolSpec | None:
    return next((tool for tool in tools if tool.name == name), None)


def _is_for_documents(
    text: str,
    tools: tuple[ToolSpec, ...],
    chosen: tuple[ToolSpec, FilledArguments] | None,
    *,
    asked: str | None,
) -> bool:
    """Return True if documents answer a question better than the best matching tool."""
    if _find_tool(tools, documents.NAME) is None or asked is not None:
        return False
    if THANKS.match(text) or HELP.search(text) or not split_identifier(text):
        return False
    if chosen is None:
        return True
    tool, filled = chosen
    required = set(tool.parameters.get("required") or ())
    if required & filled.arguments.keys():
        return False
    stems = {_stem(word) for word in split_identifier(text)}
    names_it = any(_stem(noun) in stems for noun in split_identifier(tool.name)[1:])
    return not names_it or documents.WRITTEN_DOWN.search(text) is not None


def get_last_user_text(items: Iterable[Item]) -> str:
    """Return the text of the last user message."""
    for item in reversed(tuple(items)):
        if isinstance(item, InputMessage) and item.role == "user":
            return _text(item)
    return ""


def _text(message: InputMessage) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, TextPart)).strip()


def _get_turn(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the items after the last user message."""
    for at in range(len(items) - 1, -1, -1):
        item = items[at]
        if isinstance(item, InputMessage) and item.role == "user":
            return items[at + 1 :]
    return items


def _find_pending_request(items: tuple[Item, ...]) -> str | None:
    """Return the person's original request if the last message answers our question about it."""
    messages = [item for item in items if isinstance(item, InputMessage)]
    wants: list[str] = []
    for at in range(len(messages) - 2, 0, -2):
        mine, theirs = messages[at], messages[at - 1]
        if mine.role != "assistant" or theirs.role != "user" or ASKING not in _text(mine):
            break
        wants.insert(0, _text(theirs))
    return "\n".join(wants) or None


def _collect_arguments(items: tuple[Item, ...]) -> dict[str, Any]:
    """Return the arguments of earlier calls in the thread; newer ones take precedence."""
    found: dict[str, Any] = {}
    for item in items:
        if isinstance(item, FunctionCall):
            try:
                given = json.loads(item.arguments)
            except ValueError:
                continue
            found |= given if isinstance(given, dict) else {}
    return found


def _get_forced_tool(request: ModelRequest) -> str | None:
    choice = request.tool_choice
    if isinstance(choice, dict):
        return str(choice.get("function", {}).get("name", ""))
    return "" if choice == "required" else None


def _choose(
    tools: tuple[ToolSpec, ...],
    text: str,
    *,
    asked: str | None,
    earlier: dict[str, Any],
    forced: str | None,
) -> tuple[ToolSpec, FilledArguments] | None:
    """Return the best tool and its arguments. A new request precedes an answer to our question."""
    if forced:
        tools = tuple(tool for tool in tools if tool.name == forced) or tools
    else:
        tools = tuple(tool for tool in tools if tool.name not in (documents.NAME, CODE))
    ranked = _rank_tools(tools, text, None, earlier)
    if asked is not None and (not ranked or ranked[0][0] < MIN_SCORE + 2):
        ranked = _rank_tools(tools, asked, text, earlier) or ranked
    if not ranked or (forced is None and ranked[0][0] < MIN_SCORE):
        return None
    return ranked[0][1], ranked[0][2]


def _rank_tools(
    tools: tuple[ToolSpec, ...], text: str, reply: str | None, earlier: dict[str, Any]
) -> list[tuple[float, ToolSpec, FilledArguments]]:
    found = []
    for tool in tools:
        filled = fill(tool.parameters, text, reply=reply, earlier=earlier, verbs=WRITING | READING)
        found.append((_score(tool, text, filled), tool, filled))
    return sorted(found, key=lambda entry: -entry[0])


def _score(tool: ToolSpec, text: str, filled: FilledArguments) -> float:
    words = split_identifier(text)
    stems = {_stem(word) for word in set(words)}
    verb, *nouns = split_identifier(tool.name) or [""]
    meaning = MEANINGS.get(verb)
    if meaning is None:
        nouns, meaning = [verb, *nouns], frozenset({verb})
    writes = meaning in (CHANGE, CREATE, REMOVE)
    verbs = {word for word in words if word in meaning}
    if writes and not verbs and verb not in stems:
        return -1.0
    score = 3.0 if verbs else 0.0
    topic = sum(3.0 if noun in words else 2.0 for noun in nouns if _stem(noun) in stems)
    about = {_stem(word) for word in split_identifier(tool.description)} - STOP_WORDS
    overlap = len(about & (stems - STOP_WORDS - meaning))
    filled_required = [n for n in tool.parameters.get("required") or () if n in filled.arguments]
    if not topic and overlap < 2 and not filled_required:
        return 0.0
    score += topic + min(2.0, 0.4 * overlap) + 2.0 * len(filled_required)
    score += 0.5 * (len(filled.arguments) - len(filled_required)) - 1.0 * len(filled.missing)
    # An explicitly requested change precedes reading.
    return score + (2.5 if writes and verb in words else 0.0)


def _stem(word: str) -> str:
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word


def _build_calls(
    tool: ToolSpec, filled: FilledArguments, *, parallel: bool
) -> tuple[ScriptedCall, ...]:
    numbers = [n for n, v in filled.arguments.items() if isinstance(v, int) and v in filled.several]
    writes = MEANINGS.get(split_identifier(tool.name)[0]) in (CHANGE, CREATE, REMOVE)
    if parallel and not writes and len(numbers) == 1 and 1 < len(filled.several) <= 5:
        chosen = [filled.arguments | {numbers[0]: value} for value in filled.several]
    else:
        chosen = [filled.arguments]
    return tuple(
        ScriptedCall(name=tool.name, arguments=json.dumps(a, ensure_ascii=False)) for a in chosen
    )


def _ask(tool: ToolSpec, missing: list[str]) -> str:
    wanted = join_words([f"the **{' '.join(split_identifier(name))}**" for name in missing])
    question = "What is it?" if len(missing) == 1 else "Could you give me both?"
    if len(missing) > 2:
        question = "Could you give me those?"
    return f"To {humanise(tool.name)} {ASKING} {wanted}. {question}"


def _describe_tools(tools: tuple[ToolSpec, ...]) -> str:
    lines = [_describe_tool(tool) for tool in tools]
    return f"{NOT_A_MODEL}. Here is what I can do:\n\n" + "\n".join(lines)


def _describe_tool(tool: ToolSpec) -> str:
    """Describe a tool in one line, without its description, which is written for models."""
    if tool.name in KNOWING:
        return KNOWING[tool.name]
    wanted = [" ".join(split_identifier(name)) for name in tool.parameters.get("required") or ()]
    needs = f": tell me the {join_words(wanted)}" if wanted else ""
    return f"- **{humanise(tool.name).capitalize()}**{needs}"


def _answer_unmatched(text: str, tools: tuple[ToolSpec, ...]) -> str:
    if THANKS.match(text):
        return "You are welcome. Is there anything else I can look up for you?"
    if HELP.search(text):
        return _describe_tools(tools)
    return f"I could not match that to anything I can do. {_describe_tools(tools)}"


def _answer_without_tools(text: str, *, offered: bool) -> str:
    why = "I may not use a tool for this answer" if offered else "I have no tools here"
    quoted = "\n".join(f"> {line}" for line in text[:600].splitlines()) or "> (nothing)"
    count = len(text.split())
    words = "1 word" if count == 1 else f"{count} words"
    return (
        f"{NOT_A_MODEL}, and {why}, so I cannot answer this myself. You wrote {words}:\n\n"
        f"{quoted}\n\n"
        "Everything around the answer is real: it was stored, streamed and metered as it would be "
        "with a language model. Once an administrator connects one, the same message gets a real "
        "answer."
    )
