"""An assistant that answers from a PDF, as the tutorials for version 1 of the API had it.

For openai-python 1.2 and its like: `python postgresql_v1.py manual.pdf`, with OPENAI_BASE_URL,
OPENAI_API_KEY and OPENAI_MODEL in the environment.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from openai import OpenAI

client: Any = OpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])

assistant = client.beta.assistants.create(
    name="PostgreSQL expert",
    instructions="You answer questions about PostgreSQL. Use the document that you were given.",
    model=os.environ["OPENAI_MODEL"],
    tools=[{"type": "retrieval"}],
)

with open(sys.argv[1], "rb") as manual:
    file = client.files.create(file=manual, purpose="assistants")
assistant = client.beta.assistants.update(assistant.id, file_ids=[file.id])
print("The assistant has", assistant.file_ids == [file.id] and "the file.")

thread = client.beta.threads.create()


def ask(question: str) -> None:
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question)
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status in ("queued", "in_progress"):
        time.sleep(0.5)
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id, order="asc")
    for step in steps:
        for call in getattr(step.step_details, "tool_calls", []):
            print("Used", call.type)
    print("The run is", run.status)


ask("How to create a table in PostgreSQL")
ask("And how do I get rid of it again?")

for message in client.beta.threads.messages.list(thread_id=thread.id, order="asc"):
    text = message.content[0].text
    print(f"{message.role}: {text.value}")
    for annotation in text.annotations:
        citation = annotation.file_citation
        print(f"  {annotation.text} is {citation.file_id == file.id}: {citation.quote}")

client.beta.threads.delete(thread.id)
client.beta.assistants.delete(assistant.id)
client.files.delete(file.id)
