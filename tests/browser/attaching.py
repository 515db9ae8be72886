"""Files in the hands of a person at the page."""

from __future__ import annotations

import base64
from typing import Any

from playwright.sync_api import Page, expect

from tests.world import Company

# One dot.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def a_file(name: str, content: str | bytes) -> Any:
    """Return a file as a file chooser takes it."""
    data = content.encode() if isinstance(content, str) else content
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def choose(page: Page, *files: Any) -> None:
    """Attach files, and wait until they are uploaded."""
    page.locator("#attach-files").set_input_files(list(files))
    expect(page.locator('.attached-file[data-state="ready"]')).to_have_count(len(files))


def let_use(company: Company, *tools: str) -> None:
    """Let the company's assistant use these tools."""
    with company.scope():
        company.assistant.tools = [{"type": tool} for tool in tools]
        company.assistant.save()
