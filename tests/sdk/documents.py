"""What a program does with files and vector stores, with the official client of any age.

Run as `scenario.py` is; `node/documents.mjs` does the same in Node. The first versions have
files alone.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

import openai

warnings.simplefilter("ignore", DeprecationWarning)
client: Any = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"], max_retries=0, timeout=30)
CONTENT: Any = "step_details.tool_calls[*].file_search.results[*].content"


def manage_files() -> dict[str, Any]:
    """Upload, find, read and delete a file."""
    made = client.files.create(file=("words.txt", b"words"), purpose="user_data")
    found = client.files.retrieve(made.id)
    listed = [item.id for item in client.files.list(purpose="user_data")]
    if hasattr(client.files, "content"):
        content = client.files.content(made.id).read().decode()
    else:
        content = client.files.retrieve_content(made.id)
    return {
        "made": [found.filename, found.bytes, found.purpose, found.status],
        "listed": listed == [made.id],
        "content": content,
        "processed": client.files.wait_for_processing(made.id).status,
        "deleted": client.files.delete(made.id).deleted,
    }


def send_in_parts() -> dict[str, Any]:
    """Upload a file in two parts, and give another one up."""
    about = {"filename": "parts.txt", "purpose": "user_data", "mime_type": "text/plain"}
    upload = client.uploads.create(bytes=7, **about)
    parts = [client.uploads.parts.create(upload.id, data=data) for data in (b"one ", b"two")]
    done = client.uploads.complete(upload.id, part_ids=[part.id for part in parts])
    content = client.files.content(done.file.id).read().decode()
    client.files.delete(done.file.id)
    other = client.uploads.create(bytes=7, **about)
    cancelled = client.uploads.cancel(other.id).status
    return {"status": done.status, "content": content, "cancelled": cancelled}


def fill_a_store(store: Any) -> dict[str, Any]:
    """Put files into a store, one by one and in a batch, one of them unreadable."""
    stores = client.vector_stores
    guide = ("guide.md", b"# Wood\n\nThe word is walnut.")
    row = stores.files.upload_and_poll(vector_store_id=store.id, file=guide)
    given = [("more.txt", b"Oaks are tall."), ("bad.pdf", b"%PDF-1.7 rubbish")]
    batch = stores.file_batches.upload_and_poll(store.id, files=given)
    where = {"vector_store_id": store.id}
    failed = list(stores.file_batches.list_files(batch.id, filter="failed", **where))
    stores.files.update(row.id, attributes={"language": "en"}, **where)
    counts = stores.retrieve(store.id).file_counts
    return {
        "row": [row.status, row.last_error],
        "batch": [batch.status, batch.file_counts.completed, batch.file_counts.failed],
        "failed": [item.last_error.code for item in failed],
        "listed": len(list(stores.files.list(store.id, limit=2))),
        "text": [page.text for page in stores.files.content(row.id, **where)],
        "attributes": stores.files.retrieve(row.id, **where).attributes,
        "counts": [counts.total, counts.completed, counts.failed, counts.in_progress],
    }


def search(store: Any) -> dict[str, Any]:
    """Search with and without a filter."""
    english = {"type": "eq", "key": "language", "value": "en"}
    found = client.vector_stores.search(store.id, query="walnut", max_num_results=1)
    filtered = client.vector_stores.search(store.id, query=["oaks", "walnut"], filters=english)
    return {
        "found": [[item.filename, item.content[0].text] for item in found],
        "filtered": [item.filename for item in filtered],
    }


def ask(store: Any) -> dict[str, Any]:
    """Ask an assistant that looks it up; read the step and the citation."""
    beta = client.beta
    resources = {"file_search": {"vector_store_ids": [store.id]}}
    assistant = beta.assistants.create(
        model="test-model", tools=[{"type": "file_search"}], tool_resources=resources
    )
    thread = beta.threads.create(messages=[{"role": "user", "content": "Look up the word"}])
    run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    where = {"thread_id": thread.id, "run_id": run.id}
    plain = beta.threads.runs.steps.list(order="asc", **where).data[0]
    step = beta.threads.runs.steps.retrieve(plain.id, include=[CONTENT], **where)
    results = [item.step_details.tool_calls[0].file_search.results[0] for item in (plain, step)]
    message = beta.threads.messages.list(thread.id, limit=1).data[0]
    text = message.content[0].text
    [citation] = text.annotations
    beta.assistants.delete(assistant.id)
    return {
        "status": run.status,
        "type": step.step_details.tool_calls[0].type,
        "files": [result.file_name for result in results],
        "content": [result.content and result.content[0].text for result in results],
        "cited": [citation.type, citation.file_citation.file_id == results[0].file_id],
        "marked": text.value[citation.start_index : citation.end_index] == citation.text,
    }


def give_files() -> dict[str, Any]:
    """Give an assistant and a message files, as only the first versions do."""
    first, second = (
        client.files.create(file=(name, b"words"), purpose="assistants").id
        for name in ("first.txt", "second.txt")
    )
    assistants, threads = client.beta.assistants, client.beta.threads
    made = assistants.create(model="test-model", tools=[{"type": "retrieval"}], file_ids=[first])
    given = assistants.files.create(made.id, file_id=second)
    found = assistants.files.retrieve(first, assistant_id=made.id)
    listed = [item.id for item in assistants.files.list(made.id, order="asc", limit=1)]
    taken = assistants.files.delete(first, assistant_id=made.id)
    left = assistants.retrieve(made.id).file_ids
    thread = threads.create(messages=[{"role": "user", "content": "Read", "file_ids": [first]}])
    message = threads.messages.list(thread.id).data[0]
    where = {"thread_id": thread.id, "message_id": message.id}
    [told] = threads.messages.files.list(**where)
    again = threads.messages.files.retrieve(first, **where)
    return {
        "given": [given.object, given.assistant_id == made.id, found.id == first],
        "listed": listed == [first, second],
        "taken": [taken.object, taken.deleted, left == [second]],
        "of message": [told == again, told.object, told.message_id == message.id],
    }


def main() -> None:
    """Do all of it that this version of the client has."""
    seen: dict[str, Any] = {"files": manage_files()}
    if hasattr(client.beta.assistants, "files"):
        seen["given"] = give_files()
    if hasattr(client, "vector_stores"):
        after = {"anchor": "last_active_at", "days": 7}
        store = client.vector_stores.create(name="Wood", expires_after=after)
        seen["uploads"] = send_in_parts()
        seen["store"] = fill_a_store(store)
        seen["search"] = search(store)
        seen["answer"] = ask(store)
        seen["gone"] = client.vector_stores.delete(store.id).deleted
    json.dump({"version": openai.__version__, "saw": seen}, sys.stdout)


if __name__ == "__main__":
    main()
