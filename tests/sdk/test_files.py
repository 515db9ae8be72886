"""Files, uploads and vector stores with the present official client and its helpers."""

from __future__ import annotations

from pathlib import Path

from openai import OpenAI

from tests.retrieval import files


def test_a_file_is_uploaded_read_and_found(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Guide")
    pdf = ("guide.pdf", files.pdf("The word is walnut."))
    row = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=pdf)
    assert (row.status, row.last_error) == ("completed", None)
    [found] = client.vector_stores.search(store.id, query="walnut").data
    assert (found.filename, found.content[0].text) == ("guide.pdf", "The word is walnut.")
    [page] = client.vector_stores.files.content(row.id, vector_store_id=store.id).data
    assert page.text == "The word is walnut."
    assert client.vector_stores.retrieve(store.id).file_counts.completed == 1


def test_a_batch_is_uploaded_and_read_and_the_bad_file_says_why(client: OpenAI) -> None:
    store = client.vector_stores.create()
    given = [("a.md", b"# Walnuts"), ("locked.pdf", files.pdf("secret", password="x"))]
    batch = client.vector_stores.file_batches.upload_and_poll(store.id, files=given)
    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == (
        "completed",
        1,
        1,
    )
    [failed] = client.vector_stores.file_batches.list_files(
        batch.id, vector_store_id=store.id, filter="failed"
    )
    assert failed.last_error is not None
    assert failed.last_error.code == "invalid_file"


def test_a_file_is_processed_listed_and_deleted(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("words")
    after = {"anchor": "created_at", "seconds": 3600}
    made = client.files.create(file=path, purpose="user_data", expires_after=after)  # type: ignore[arg-type]
    assert client.files.wait_for_processing(made.id).status == "processed"
    assert made.expires_at == made.created_at + 3600
    assert [item.id for item in client.files.list(purpose="user_data")] == [made.id]
    assert client.files.content(made.id).read() == b"words"
    assert client.files.delete(made.id).deleted


def test_a_file_is_uploaded_in_chunks(client: OpenAI) -> None:
    data = b"0123456789" * 100_000
    upload = client.uploads.upload_file_chunked(
        file=data,
        filename="numbers.txt",
        bytes=len(data),
        mime_type="text/plain",
        purpose="assistants",
        part_size=300_000,
    )
    assert upload.file is not None
    assert client.files.content(upload.file.id).read() == data


def test_many_files_are_paged_through(client: OpenAI) -> None:
    store = client.vector_stores.create()
    ids = [
        client.files.create(file=(f"{n}.txt", b"words"), purpose="assistants").id for n in range(5)
    ]
    client.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
    found = client.vector_stores.files.list(store.id, limit=2, order="asc")
    assert [item.id for item in found] == ids
    assert {item.id for item in client.files.list(limit=2)} == set(ids)
