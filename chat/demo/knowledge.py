"""Documents of the demonstration: put into a collection once, indexed in the background."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from django.db import transaction

from chat.actions.assistants.manage import MAX_PROMPTS, update_assistant
from chat.actions.assistants.tool_definitions import BUILT_IN_TOOLS
from chat.actions.files.manage import create_file
from chat.actions.vector_stores.files import create_batch
from chat.actions.vector_stores.manage import create_store
from chat.demo.assistants import DESKS, DOCUMENT_PROMPT
from chat.models import Assistant, File, VectorStore
from chat.models.resources import build_search_resources, get_store_ids
from tenants.authentication import Principal
from tenants.scope import tenant_scope

FOLDER = Path(__file__).parent / "documents"
# Identifies the collection if an earlier load was interrupted.
COLLECTION_METADATA = {"demonstration": "documents"}


def create_demo_documents(principal: Principal, slug: str) -> None:
    """Create the company's collection with its documents.

    Call it once per company, so that changes and deletions by an admin persist.
    """
    found = _find_collection(principal)
    store = found or create_store(
        principal,
        name="Policies and guides",
        description="What customers ask about.",
        metadata=COLLECTION_METADATA,
    )
    files = [_get_or_create_file(principal, path) for path in sorted((FOLDER / slug).glob("*.md"))]
    create_batch(principal, store.pk, file_ids=files)


def equip_desks(principal: Principal, names: Collection[str]) -> None:
    """Let the named order desks search the collection and run code, if the collection exists."""
    store = _find_collection(principal)
    with tenant_scope(principal.tenant_id), transaction.atomic():
        desks = Assistant.objects.visible_to(principal).filter(name__in={*DESKS} & {*names})
        found = (
            [] if store is None else [(desk.pk, _add_knowledge(desk, store.pk)) for desk in desks]
        )
    for desk_id, fields in found:
        update_assistant(principal, desk_id, **fields)


def _find_collection(principal: Principal) -> VectorStore | None:
    with tenant_scope(principal.tenant_id), transaction.atomic():
        rows = VectorStore.objects.visible_to(principal).filter(member=None)
        found: VectorStore | None = rows.filter(metadata=COLLECTION_METADATA).first()
        return found


def _get_or_create_file(principal: Principal, path: Path) -> str:
    with tenant_scope(principal.tenant_id), transaction.atomic():
        rows = File.objects.visible_to(principal).filter(member=None)
        found = rows.filter(filename=path.name).first()
    if found is None:
        with path.open("rb") as content:
            found = create_file(
                principal, content, filename=path.name, purpose="assistants", company=True
            )
    return str(found.pk)


def _add_knowledge(desk: Assistant, store_id: str) -> dict[str, Any]:
    """Return the fields to update; a collection the desk already searches is kept."""
    stores = get_store_ids(desk.tool_resources) or [store_id]
    prompts = list(dict.fromkeys([*desk.suggested_prompts, DOCUMENT_PROMPT]))
    return {
        "built_in": BUILT_IN_TOOLS,
        "tool_resources": {**desk.tool_resources, **build_search_resources(stores)},
        "suggested_prompts": prompts[:MAX_PROMPTS],
    }
