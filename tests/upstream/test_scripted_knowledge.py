"""The demonstration provider with documents to quote and code to run; its code runs for real."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from chat.sandbox.base import SandboxLimits, Session
from chat.sandbox.monty import MontySandbox
from chat.upstream.base import FunctionCall, FunctionOutput, Item, ModelRequest, ToolSpec
from chat.upstream.scripted_reply import reply_to
from tests.upstream.chats import message
from tests.upstream.test_scripted import SHOP

DOCUMENTS = Path(__file__).parents[2] / "chat/demo/documents"
SEARCH = ToolSpec(
    name="file_search",
    description="Search the documents.",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
    },
)
CODE = ToolSpec(
    name="code_interpreter",
    description=f"{MontySandbox.description}\n\nFiles there:\n- /mnt/data/sales.csv",
    parameters={"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
)
SALES = """date;region;amount
2024-12-30;North;10.50
2025-01-02;South;20.00
2025-01-30;North;1.25
2025-02-11;South;
"""


def asked(*items: Item, tools: tuple[ToolSpec, ...] = (*SHOP, SEARCH), **fields: Any) -> Any:
    return reply_to(ModelRequest(model="demo", items=items, tools=tools, **fields))


def passages(slug: str) -> str:
    found = [
        {"mark": f"【ab12:{number}†{path.name}】", "file": path.name, "text": path.read_text()}
        for number, path in enumerate(sorted((DOCUMENTS / slug).glob("*.md")), 1)
    ]
    return json.dumps({"untrusted_content": {"passages": found}})


def answer(question: str, output: str) -> str:
    call = FunctionCall(call_id="c1", name="file_search", arguments="{}")
    told = FunctionOutput(call_id="c1", output=output)
    text: str = asked(message(question), call, told).text
    return text


@pytest.mark.parametrize(
    "question",
    ["What is your return policy?", "How do I care for my tent?", "What do the guarantees say?"],
)
def test_what_no_tool_knows_is_looked_up_in_the_documents(question: str) -> None:
    (call,) = asked(message(question)).calls
    assert (call.name, json.loads(call.arguments)) == ("file_search", {"query": question})


@pytest.mark.parametrize(
    ("question", "tool"),
    [("Where is my order 1042?", "get_order"), ("Show my orders", "list_orders")],
)
def test_orders_are_looked_up_as_before(question: str, tool: str) -> None:
    (call,) = asked(message(question), tools=(*SHOP, SEARCH, CODE)).calls
    assert call.name == tool


@pytest.mark.parametrize("said", ["Thanks!", "Hello", "What can you do?"])
def test_small_talk_searches_nothing(said: str) -> None:
    assert asked(message(said)).calls == ()


def test_documents_are_not_searched_where_no_tool_may_be_used() -> None:
    assert asked(message("What is your return policy?"), tool_choice="none").calls == ()


@pytest.mark.parametrize(
    ("slug", "question", "sentence"),
    [
        ("northwind", "How long do I have to return a tent?", "Tents and sleeping bags have 100"),
        ("northwind", "When do I get my money back?", "The money goes back the way it came"),
        ("northwind", "How do I care for my tent?", "Never put a tent away wet"),
        ("harbor", "How much does it cost to send back a boat?", "A return costs 9 dollars"),
        ("harbor", "How long is the guarantee on hulls?", "guaranteed for ten years against"),
    ],
)
def test_sentences_that_answer_are_quoted_with_their_mark(
    slug: str, question: str, sentence: str
) -> None:
    line = next(line for line in answer(question, passages(slug)).splitlines() if sentence in line)
    quoted, _, name = line.removeprefix("- ").partition(" 【ab12:")
    source = DOCUMENTS / slug / name[2:].removesuffix("】")
    assert quoted in source.read_text()


def test_a_question_about_a_whole_document_gets_how_its_parts_begin() -> None:
    text = answer("What is your return policy?", passages("northwind"))
    assert text.count("†Returns policy.md】") == 5
    assert "- **How long you have:** You may send back anything" in text


@pytest.mark.parametrize(
    "output", [passages("northwind"), "{}", "[]", "not JSON", '{"passages": [3]}']
)
def test_nothing_found_is_said(output: str) -> None:
    assert answer("What is the capital of France?", output).startswith("I found nothing")


@pytest.mark.parametrize(
    "hostile",
    ["(" * 100_000, "1+" * 100_000, "# a" + " " * 60_000 + "b", "#" * 60_000, "by " * 60_000],
)
def test_long_nonsense_takes_no_time(hostile: str) -> None:
    output = json.dumps({"passages": [{"mark": "m", "file": "a.md", "text": hostile}]})
    began = process_time()
    asked(message(hostile), tools=(*SHOP, SEARCH, CODE))
    answer("What is your return policy?", output)
    assert process_time() - began < 3


def test_what_is_still_being_read_is_said() -> None:
    output = json.dumps({"passages": [], "note": "1 file is still being read."})
    assert answer("Is it free?", output).endswith("1 file is still being read.")


@dataclass
class Chat:
    """A chat in which code runs; `codes` and `pictures` are of the last answer."""

    session: Session
    items: list[Item] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    pictures: int = 0
    tool: ToolSpec = CODE

    async def says(self, text: str) -> str:
        """Send a message, run the code that is asked for, and return the answer."""
        self.items.append(message(text))
        self.codes, self.pictures = [], 0
        while (reply := asked(*self.items, tools=(*SHOP, self.tool))).calls:
            (call,) = reply.calls
            await self._run(call.arguments)
        self.items.append(message(reply.text, "assistant"))
        said: str = reply.text
        return said

    async def _run(self, arguments: str) -> None:
        code = json.loads(arguments)["code"]
        self.codes.append(code)
        outcome = await self.session.run(code)
        self.pictures += len(outcome.images)
        files = [f"/mnt/data/{file.name}" for file in outcome.files]
        told = {
            "logs": outcome.logs,
            "value": outcome.value,
            "error": outcome.error,
            "files": files,
        }
        name = f"call_{len(self.items)}"
        call = FunctionCall(call_id=name, name="code_interpreter", arguments=arguments)
        output = json.dumps({"untrusted_content": told})
        self.items += [call, FunctionOutput(call_id=name, output=output)]


@asynccontextmanager
async def chatting(table: str = SALES) -> AsyncIterator[Chat]:
    session = await MontySandbox().open(SandboxLimits())
    await session.put_file("sales.csv", table.encode())
    try:
        yield Chat(session)
    finally:
        await session.close()


async def test_totals_by_month_are_computed_and_drawn_and_then_narrowed() -> None:
    async with chatting() as chat:
        text = await chat.says("Totals by month, please, with a chart")
        assert "| 2024-12 | 10.5 |\n| 2025-01 | 21.25 |" in text
        assert (len(chat.codes), chat.pictures) == (2, 1)
        text = await chat.says("now only 2025")
        assert text.startswith("Total of amount by month, only 2025:")
        assert "2024" not in text
        # The same rows: the table is not read again.
        assert ("open(" in "".join(chat.codes), chat.pictures) == (False, 1)


async def test_other_columns_and_averages_and_files() -> None:
    async with chatting() as chat:
        text = await chat.says("Average amount by region, to download")
        assert "| North | 5.88 |\n| South | 20 |" in text
        assert "(sandbox:/mnt/data/average-of-amount-by-region.csv)" in text


async def test_a_table_is_described() -> None:
    async with chatting() as chat:
        text = await chat.says("What is in this file?")
        assert text.startswith("**sales.csv** has 4 rows and 3 columns.")


async def test_a_sum_is_computed_without_a_table() -> None:
    async with chatting() as chat:
        assert await chat.says("What is 12 * 37 + 4?") == "It is **448**."


async def test_code_that_fails_is_told() -> None:
    table = "month,total\n" + "2025-01,12\n" * 6 + "2025-03,x\n"
    async with chatting(table) as chat:
        assert "the code did not work: `ValueError" in await chat.says("Totals by month")


async def test_a_session_that_began_anew_reads_the_table_again() -> None:
    async with chatting() as chat, chatting() as fresh:
        await chat.says("Totals by month")
        chat.session = fresh.session
        text = await chat.says("now only 2025")
        assert "| 2025-01 | 21.25 |" in text
        assert len(chat.codes) == 3


async def test_orders_are_still_looked_up_after_a_computation() -> None:
    async with chatting() as chat:
        await chat.says("Totals by month")
        reply = asked(*chat.items, message("Where is my order 1042?"), tools=(*SHOP, CODE))
        assert [call.name for call in reply.calls] == ["get_order"]
