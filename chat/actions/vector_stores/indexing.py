"""Validate files for a vector store and enqueue them for indexing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone
from procrastinate.contrib.django import app as jobs

from chat.actions.fields import (
    build_not_found,
    clean_id,
    clean_integer,
    clean_list,
    clean_object,
    clean_text,
)
from chat.errors import InvalidInput, InvalidType, MissingParameter
from chat.models import File, FileBatch, IndexStatus, StoreFile, VectorStore
from chat.retrieval.chunk import AUTO_OVERLAP, AUTO_TOKENS
from tenants.authentication import Principal

FILE_PREFIX = "file-"
MAX_BATCH_SIZE = 2000
MAX_ATTRIBUTES, MAX_ATTRIBUTE_KEY, MAX_ATTRIBUTE_TEXT = 16, 64, 512
JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FileToIndex:
    """A file to add to a vector store, with its options; `param` names it in errors."""

    file_id: str
    param: str
    attributes: JsonObject = field(default_factory=dict)
    chunking: tuple[int, int] | None = None


def clean_file_ids(
    file_ids: Any,
    *,
    param: str,
    most: int,
    chunking: tuple[int, int] | None = None,
    attributes: JsonObject | None = None,
) -> list[FileToIndex]:
    """Validate a list of file IDs to add to a store; None means an empty list.

    Raises:
        InvalidInput: the list is too long or an ID is malformed.
        NotFound: no file can have one of the IDs.
    """
    ids = [] if file_ids is None else clean_list(file_ids, param=param, limit=most)
    params = [(file_id, f"{param}[{index}]") for index, file_id in enumerate(ids)]
    return [
        FileToIndex(
            file_id=clean_id(file_id, param=item_param, prefix=FILE_PREFIX),
            param=item_param,
            attributes=attributes or {},
            chunking=chunking,
        )
        for file_id, item_param in params
    ]


def clean_batch_files(value: Any, *, param: str) -> list[FileToIndex]:
    """Validate the `files` of a batch, each with its own attributes and chunking.

    Raises:
        InvalidInput: a value is invalid; `param` names it.
        NotFound: no file can have one of the IDs.
    """
    found = []
    for index, item in enumerate(clean_list(value, param=param, limit=MAX_BATCH_SIZE)):
        place = f"{param}[{index}]"
        allowed = ("file_id", "attributes", "chunking_strategy")
        given = clean_object(item, param=place, allowed=allowed)
        found.append(clean_file(given, param=f"{place}."))
    return found


def clean_file(given: JsonObject, *, param: str = "") -> FileToIndex:
    """Validate one file with attributes and chunking.

    `param` is the prefix of its field names in errors. Raises like `clean_batch_files`.
    """
    if given.get("file_id") is None:
        raise MissingParameter(param=f"{param}file_id")
    return FileToIndex(
        file_id=clean_id(given["file_id"], param=f"{param}file_id", prefix=FILE_PREFIX),
        param=f"{param}file_id",
        attributes=clean_attributes(given.get("attributes"), param=f"{param}attributes"),
        chunking=clean_chunking(given.get("chunking_strategy"), param=f"{param}chunking_strategy"),
    )


def clean_attributes(value: Any, *, param: str = "attributes") -> JsonObject:
    """Return up to 16 strings, numbers and booleans by name; None means no attributes.

    Raises:
        InvalidInput: a name or value is invalid; `param` names it.
    """
    given = {} if value is None else clean_object(value, param=param)
    if len(given) > MAX_ATTRIBUTES:
        raise InvalidInput(f"A file can have at most {MAX_ATTRIBUTES} attributes.", param=param)
    for name, item in given.items():
        clean_text(name, param=param, limit=MAX_ATTRIBUTE_KEY)
        if isinstance(item, str):
            clean_text(item, param=f"{param}.{name[:64]}", limit=MAX_ATTRIBUTE_TEXT)
        elif not isinstance(item, bool | int | float):
            text = "Expected a string, number or boolean."
            raise InvalidType(text, param=f"{param}.{name[:64]}")
    return given


def clean_chunking(value: Any, *, param: str) -> tuple[int, int] | None:
    """Return chunk size and overlap in tokens; None if `value` is None or "auto".

    Raises:
        InvalidInput: a value is invalid; `param` names it.
    """
    if value is None:
        return None
    given = clean_object(value, param=param, allowed=("type", "static"))
    if given.get("type") == "auto" and "static" not in given:
        return None
    if given.get("type") != "static":
        raise InvalidInput("Expected 'auto' or 'static'.", param=f"{param}.type")
    place = f"{param}.static"
    allowed = ("max_chunk_size_tokens", "chunk_overlap_tokens")
    sizes = clean_object(given.get("static"), param=place, allowed=allowed)
    first, second = (f"{place}.{name}" for name in allowed)
    largest = clean_integer(sizes.get(allowed[0]), param=first, least=100, most=4096)
    overlap = clean_integer(sizes.get(allowed[1]), param=second, least=0, most=largest // 2)
    return largest, overlap


def get_own_files(principal: Principal, items: Sequence[FileToIndex]) -> dict[str, File]:
    """Return the principal's files by ID. Call within a tenant transaction.

    Raises:
        NotFound: a file does not exist or does not belong to the principal.
    """
    rows = File.objects.visible_to(principal).in_bulk([item.file_id for item in items])
    for item in items:
        if item.file_id not in rows:
            raise build_not_found(FILE_PREFIX, item.file_id, param=item.param)
    return dict(rows)


def add_files(
    store: VectorStore,
    files: dict[str, File],
    items: Sequence[FileToIndex],
    *,
    batch: FileBatch | None = None,
) -> list[StoreFile]:
    """Add files to a store and enqueue them for indexing in the caller's transaction.

    A file that is already in the store gets the new attributes. It is indexed again
    only if indexing failed or was cancelled.
    """
    wanted = {item.file_id: item for item in items}
    locked = StoreFile.objects.select_for_update().filter(store=store, file_id__in=wanted)
    existing = {row.file_id: row for row in locked.defer("text", "pages").order_by("pk")}
    rows, to_index = [], []
    for file_id, item in wanted.items():
        row = existing.get(file_id) or StoreFile(store=store, file=files[file_id])
        reindex = row.pk is None or row.status in (IndexStatus.FAILED, IndexStatus.CANCELLED)
        _update_row(row, item, batch=batch, reindex=reindex)
        rows.append(row)
        if reindex:
            to_index.append(row)
    for row in existing.values():
        row.save()
    StoreFile.objects.bulk_create([row for row in rows if row.pk is None], batch_size=500)
    VectorStore.objects.filter(pk=store.pk).update(last_active_at=timezone.now())
    _enqueue_indexing(to_index)
    return rows


def _update_row(
    row: StoreFile, item: FileToIndex, *, batch: FileBatch | None, reindex: bool
) -> None:
    row.attributes, row.batch = item.attributes, batch or row.batch
    if reindex:
        row.max_chunk_tokens, row.overlap_tokens = item.chunking or (AUTO_TOKENS, AUTO_OVERLAP)
        row.chosen_chunking = item.chunking is not None
        row.status, row.tries = IndexStatus.IN_PROGRESS, 0
        row.claimed_at = row.ended_at = None
        # Fencing: an earlier indexer that has not noticed its cancellation writes nothing.
        row.token += 1
        row.error_code = row.error_message = ""


def _enqueue_indexing(rows: Iterable[StoreFile]) -> None:
    arguments: list[JsonObject] = [
        {"tenant_id": str(row.tenant_id), "store_file_id": row.pk} for row in rows
    ]
    if not arguments:
        return
    # Companies with few waiting files go first, so that a bulk upload does not delay others.
    waiting = StoreFile.objects.filter(status=IndexStatus.IN_PROGRESS).count()
    task = jobs.configure_task("chat.tasks.index_store_file", queue="files", priority=-waiting)
    # The jobs are inserted in the same transaction.
    task.batch_defer(*arguments)
