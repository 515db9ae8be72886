"""Files that nobody should have to read, in one batch: each says why, and the rest goes on."""

from __future__ import annotations

import random

import pytest
from openai import APIStatusError, OpenAI

from tests.api.streaming import DEPRECATED
from tests.clock import time_limit
from tests.retrieval import files

SECONDS = 60.0
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
WORD = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
LAUGHS = (
    b'<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    + WORD
    + b"<w:body><w:p><w:r><w:t>&b;</w:t></w:r></w:p></w:body></w:document>"
)
NOISE = random.Random(1).randbytes(5000)
# By name: what it holds, the code, and a word of the sentence.
BAD: dict[str, tuple[bytes, str, str]] = {
    "locked.pdf": (files.pdf("Secret", password="x"), "invalid_file", "password"),
    "damaged.pdf": (files.pdf("Words")[:200], "invalid_file", "damaged"),
    "scan.pdf": (files.pdf(""), "invalid_file", "scan"),
    "blank.txt": (b" \n\0\n ", "invalid_file", "empty"),
    "bomb.docx": (files.zip_bomb(220_000_000), "invalid_file", "too much text"),
    "leak.docx": (files.EXTERNAL_ENTITY, "invalid_file", "entities"),
    "laughs.docx": (files.docx(document=LAUGHS), "invalid_file", "entities"),
    "cut.docx": (files.docx("Words")[:-40], "invalid_file", "damaged"),
    "long.csv": (b"a,b\n" + b"x" * 25_000_000, "invalid_file", "too much text"),
    "picture.pdf": (PNG, "unsupported_file", "Images"),
    "archive.docx": (b"PK\x05\x06" + b"\0" * 18, "unsupported_file", "Archives"),
    "noise.txt": (NOISE, "unsupported_file", "encoding"),
}
GOOD: dict[str, bytes] = {
    "../../etc/passwd": b"Names are names: walnut.",
    "old.txt": "Ein Nußbaum trägt Nüsse, und zwar walnuts. ".encode("cp1252") * 8,
    "notes.txt": files.pdf("A walnut in a PDF."),
    "deep.json": b"[" * 3_000,
}


def test_each_bad_file_says_why_and_the_others_are_read(client: OpenAI) -> None:
    store = client.vector_stores.create()
    given = [(name, data) for name, (data, _code, _word) in BAD.items()] + list(GOOD.items())
    ids = {
        client.files.create(file=item, purpose="assistants").id: item[0].rsplit("/", 1)[-1]
        for item in given
    }
    with time_limit(SECONDS):
        batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=list(ids))
    assert (batch.file_counts.failed, batch.file_counts.completed) == (len(BAD), len(GOOD))
    for row in client.vector_stores.files.list(store.id, filter="failed"):
        _data, code, word = BAD[ids[row.id]]
        assert row.last_error is not None
        assert (row.last_error.code, word in row.last_error.message) == (code, True), row
    found = {item.filename for item in client.vector_stores.search(store.id, query="walnut")}
    assert found >= {"passwd", "old.txt", "notes.txt"}


def test_what_cannot_be_a_file_is_refused_at_once(client: OpenAI) -> None:
    refused = []
    for data, purpose in ((b"", "assistants"), (b"no picture", "vision")):
        with pytest.raises(APIStatusError) as caught:
            client.files.create(file=("picture.png", data), purpose=purpose)  # type: ignore[arg-type]
        refused.append((caught.value.status_code, caught.value.param))
    assert refused == [(400, "file"), (400, "file")]


@pytest.mark.filterwarnings(DEPRECATED)
def test_what_is_no_picture_is_not_shown(client: OpenAI) -> None:
    page = client.files.create(file=("picture.png", b"<html>hi</html>"), purpose="user_data").id
    part = {"type": "image_file", "image_file": {"file_id": page}}
    with pytest.raises(APIStatusError, match="not an image"):
        client.beta.threads.create(messages=[{"role": "user", "content": [part]}])  # type: ignore[list-item]
