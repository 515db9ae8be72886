"""Somebody says something, as the page does it, within the test's own process."""

from __future__ import annotations

from uuid import uuid4

from chat.actions.send_message import CreatedMessage, create_message
from chat.models import Run
from tenants.authentication import Principal
from tests.world import Company


def said(
    company: Company,
    text: str = "Hello",
    *,
    by: str | Principal = "alice",
    assistant: str | None = None,
    thread: str | None = None,
    busy: str | None = None,
) -> CreatedMessage:
    """Store a message of a member, or of another principal of the company."""
    return create_message(
        company.principal(by) if isinstance(by, str) else by,
        thread,
        assistant_id=assistant or company.assistant.pk,
        content=text,
        client_id=str(uuid4()),
        busy=busy,
    )


def unclaimed_run(company: Company) -> Run:
    """Return a run that was accepted where no loop runs: nobody has claimed it."""
    run = said(company).run
    assert run is not None
    return run
