"""The demonstration through a real server process: sockets, runs, tools and approvals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chat.demo.load import load
from chat.demo.models import Order
from chat.models import Assistant, StoreFile
from tenants.authentication import list_memberships
from tenants.db import in_db
from tenants.models import User
from tests.server import Server
from tests.socket_client import ChatSocket, chat_socket
from tests.world import Company

MAYA, LENA, ROBIN = "maya@northwind.example", "lena@harbor.example", "robin@both.example"


@pytest.fixture
def demo(server: Server, tmp_path: Path, settings: Any) -> Server:
    """A server beside the demonstration companies."""
    settings.DATA_DIR = tmp_path
    # Where the server looks for it.
    settings.MEDIA_ROOT = server.log.parent / "files"
    load()
    return server


def company_of(email: str, slug: str) -> Company:
    """Return one of the companies with this person in it."""
    for membership in list_memberships(User.objects.get(email=email)):
        if membership.tenant.slug == slug:
            return Company(tenant=membership.tenant, people={email: membership})
    raise LookupError(slug)


def order_desk(company: Company) -> str:
    """Return the id of its order desk."""
    with company.scope():
        return str(Assistant.objects.get(name="Order desk").pk)


def status_of(company: Company, number: int) -> str:
    """Return an order's status as stored."""
    with company.scope():
        return str(Order.objects.get(number=number).status)


async def answer(socket: ChatSocket, company: Company, text: str) -> str:
    """Ask the order desk and return its whole answer."""
    sent = await socket.say(text, assistant=await in_db(order_desk, company))
    return await final_text(socket, sent["run"]["id"])


async def final_text(socket: ChatSocket, run: str) -> str:
    """Wait for the end of a run and return what its last message says."""
    ended = await socket.until_ended(run)
    assert ended["status"] == "completed"
    done = [each for each in socket.events if each["event"] == "thread.message.completed"]
    return str(done[-1]["data"]["content"][0]["text"]["value"])


async def ask_about_1042(server: Server, email: str, slug: str) -> tuple[str, str]:
    """Return the answer, and every byte that came with it."""
    company = await in_db(company_of, email, slug)
    async with chat_socket(server, company, email) as socket:
        text = await answer(socket, company, "Where is my order 1042?")
        return text, str(socket.events)


async def test_both_companies_ask_for_the_same_number_at_once(demo: Server) -> None:
    (ours, our_bytes), (theirs, their_bytes) = await asyncio.gather(
        ask_about_1042(demo, MAYA, "northwind"), ask_about_1042(demo, LENA, "harbor")
    )
    assert "Ridgeline two-person tent" in ours
    assert "Sea kayak" in theirs
    assert "kayak" not in our_bytes
    assert "Ridgeline" not in their_bytes


async def test_one_person_in_both_gets_each_company_s_own(demo: Server) -> None:
    (ours, _), (theirs, _) = await asyncio.gather(
        ask_about_1042(demo, ROBIN, "northwind"), ask_about_1042(demo, ROBIN, "harbor")
    )
    assert "Summit Parcel" in ours
    assert "Coastline Express" in theirs


async def until_documents_are_read(company: Company) -> None:
    """Return when all documents of a company can be searched: a machine may take long for them."""

    def unread() -> bool:
        with company.scope():
            return bool(StoreFile.objects.exclude(status="completed").exists())

    async with asyncio.timeout(180):
        while True:
            if not await in_db(unread):
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("email", "slug", "days"),
    [(MAYA, "northwind", "within 60 days"), (LENA, "harbor", "30 days from delivery")],
)
async def test_each_company_s_policy_is_quoted_with_its_sources(
    demo: Server, email: str, slug: str, days: str
) -> None:
    company = await in_db(company_of, email, slug)
    await until_documents_are_read(company)
    async with chat_socket(demo, company, email) as socket:
        text = await answer(socket, company, "What is your return policy?")
        done = [each for each in socket.events if each["event"] == "thread.message.completed"]
    cited = done[-1]["data"]["content"][0]["text"]["annotations"]
    assert days in text
    assert len({item["file_citation"]["quote"] for item in cited}) == len(cited) == 5
    assert all(item["file_citation"]["quote"] in text for item in cited)
    assert {item["atrium"]["file_name"] for item in cited} == {"Returns policy.md"}


@pytest.mark.parametrize(
    ("decision", "status", "words"),
    [("approve", "cancelled", "is **cancelled**"), ("decline", "packed", "declined")],
)
async def test_cancelling_waits_for_the_person(
    demo: Server, decision: str, status: str, words: str
) -> None:
    company = await in_db(company_of, MAYA, "northwind")
    async with chat_socket(demo, company, MAYA) as socket:
        desk = await in_db(order_desk, company)
        run = (await socket.say("Cancel order 1043", assistant=desk))["run"]["id"]
        waiting = (await socket.until_event("thread.run.requires_action"))["data"]
        (asked,) = waiting["atrium"]["approvals"]
        assert asked["arguments"] == {"order_number": 1043}
        assert await in_db(status_of, company, 1043) == "packed"
        shown = {"call": asked["call_id"], "arguments_hash": asked["arguments_hash"]}
        reply = await socket.ask("tool.decide", run=run, decision=decision, **shown)
        assert reply["type"] == "ack"
        assert words in await final_text(socket, run)
        assert await in_db(status_of, company, 1043) == status


async def test_an_approval_of_other_arguments_is_refused(demo: Server) -> None:
    company = await in_db(company_of, MAYA, "northwind")
    async with chat_socket(demo, company, MAYA) as socket:
        desk = await in_db(order_desk, company)
        run = (await socket.say("Cancel order 1043", assistant=desk))["run"]["id"]
        waiting = (await socket.until_event("thread.run.requires_action"))["data"]
        call = waiting["atrium"]["approvals"][0]["call_id"]
        reply = await socket.ask(
            "tool.decide", run=run, call=call, decision="approve", arguments_hash="0" * 64
        )
        assert reply["error"]["code"] == "approval_changed"
        assert await in_db(status_of, company, 1043) == "packed"
