"""Assistants of the demonstration."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction

from chat.actions.assistants import manage as actions
from chat.conf import conf
from chat.models import Assistant
from tenants.authentication import Principal
from tenants.scope import tenant_scope

# Assistants that also answer from the company's documents.
DESKS = ("Order desk", "Order desk, live")
DOCUMENT_PROMPT = "What is your return policy?"
SCRIPTED, CONNECTED = "demo", "default"
TOOLS = ("list_orders", "get_order", "update_delivery_address", "cancel_order")
PROMPTS = (
    "Where is my order 1042?",
    "Show my orders",
    "Change the delivery address of order 1044 to 5 Elm Street, Springfield",
    "Cancel order 1043",
)
DESK_INSTRUCTIONS = (
    "You are the order desk of {company}, which sells outdoor gear. Look orders up with the "
    "tools and answer from what they return: status, contents, carrier, tracking number and "
    "expected day. Questions about returns, guarantees and products are answered from the "
    "documents. Never guess. An order that has been shipped cannot be changed. Be brief, "
    "friendly and concrete."
)
WRITER_INSTRUCTIONS = (
    "You help people at {company} to write: e-mails, product texts, announcements. Ask for the "
    "reader and the purpose where they are not clear, then write plainly and warmly, in short "
    "sentences. Offer one version, and a shorter one when the text is long."
)


def list_assistant_fields(company: str) -> list[dict[str, Any]]:
    """Return the fields of each assistant a company should have, the default one last.

    Assistants on a real model server are included only if one is connected.
    """
    desk = {
        "description": "Finds, changes and cancels your orders, and knows our policies.",
        "instructions": DESK_INSTRUCTIONS.format(company=company),
        "tools": list(TOOLS),
        "suggested_prompts": [*PROMPTS, DOCUMENT_PROMPT],
    }
    scripted = {"name": DESKS[0], "model": conf.upstream(SCRIPTED)["MODEL"]}
    wanted = [{**desk, **scripted, "upstream": SCRIPTED}]
    if CONNECTED in conf.upstreams:
        real = {"model": conf.upstream(CONNECTED)["MODEL"], "upstream": CONNECTED}
        writer = {
            "name": "Writing partner",
            "description": "Drafts and polishes e-mails and product texts with you.",
            "instructions": WRITER_INSTRUCTIONS.format(company=company),
            "suggested_prompts": [
                "Write a friendly e-mail about a late delivery",
                "Describe a two-person tent in three sentences",
            ],
        }
        wanted += [{**writer, **real}, {**desk, **real, "name": DESKS[1]}]
    return wanted


def create_demo_assistants(principal: Principal, *, made_before: Collection[str]) -> None:
    """Create the assistants that were never created before; the last becomes the default.

    `made_before` are names that an admin may have changed or deleted since.
    """
    wanted = list_assistant_fields(principal.tenant.name)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        taken = {*made_before, *Assistant.objects.values_list("name", flat=True)}
        for fields in wanted:
            if fields["name"] not in taken:
                actions.create_assistant(principal, is_default=fields is wanted[-1], **fields)
