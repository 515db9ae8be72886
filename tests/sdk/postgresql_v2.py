"""An assistant that answers from a PDF, as the tutorials for version 2 of the API have it.

For the present client: `python postgresql_v2.py manual.pdf`, with OPENAI_BASE_URL,
OPENAI_API_KEY and OPENAI_MODEL in the environment.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from openai import OpenAI

client: Any = OpenAI()

assistant = client.beta.assistants.create(
    name="PostgreSQL expert",
    instructions="You answer questions about PostgreSQL. Use the document that you were given.",
    model=os.environ["OPENAI_MODEL"],
    tools=[{"type": "file_search"}],
)

with open(sys.argv[1], "rb") as manual:
    file = client.files.create(file=manual, purpose="assistants")
store = client.vector_stores.create(name="PostgreSQL manual")
batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=[file.id])
print("The batch is", batch.status, "with", batch.file_counts.completed, "file.")

assistant = client.beta.assistants.update(
    assistant.id, tool_resources={"file_search": {"vector_store_ids": [store.id]}}
)
thread = client.beta.threads.create()


def ask(question: str) -> None:
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question)
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status in ("queued", "in_progress"):
        time.sleep(0.5)
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    steps = client.beta.threads.runs.steps.list(
        thread_id=thread.id,
        run_id=run.id,
        order="asc",
        include=["step_details.tool_calls[*].file_search.results[*].content"],
    )
    for step in steps:
        for call in getattr(step.step_details, "tool_calls", []):
            print("Used", call.type)
            for result in call.file_search.results:
                print(f"  found {result.file_name}: {result.content[0].text!r}")
    print("The run is", run.status)


ask("How to create a table in PostgreSQL")
ask("And how do I get rid of it again?")

for message in client.beta.threads.messages.list(thread_id=thread.id, order="asc"):
    text = message.content[0].text
    print(f"{message.role}: {text.value}")
    for annotation in text.annotations:
        cited = client.files.retrieve(annotation.file_citation.file_id)
        print(f"  {annotation.text} is from {cited.filename}")

client.beta.threads.delete(thread.id)
client.beta.assistants.delete(assistant.id)
client.vector_stores.delete(store.id)
client.files.delete(file.id)
