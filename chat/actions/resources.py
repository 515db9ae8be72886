"""What assistants and threads refer to: files and vector stores.

Shapes are checked ahead of the transaction; `resolve_tool_resources` resolves the ids within it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from chat.actions.fields import (
    clean_id,
    clean_list,
    clean_metadata,
    clean_object,
    not_found,
)
from chat.actions.filing import FILE, FileToIndex, add_files, clean_chunking, clean_filed, own_files
from chat.actions.stores import STORE
from chat.actions.tool_definitions import BUILT_IN
from chat.errors import InvalidInput, InvalidType, MissingParameter
from chat.models import File, VectorStore
from chat.models.resources import Resources, for_code, for_search
from tenants.authentication import Principal
from tenants.models import Membership

MAX_FILES, MAX_STORES, MAX_ATTACHMENTS, MAX_STORE_FILES = 20, 1, 500, 10_000


@dataclass(frozen=True, kw_only=True)
class RequestedStore:
    """A vector store that is described where it is to be used."""

    files: list[FileToIndex]
    metadata: dict[str, str]
    param: str


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """Tool resources as they were asked for; None where a tool is not named."""

    param: str
    code_files: list[str] | None = None
    store_ids: list[str] | None = None
    new_stores: tuple[RequestedStore, ...] = ()


def clean_tool_resources(
    value: Any, *, creating: bool = True, param: str = "tool_resources"
) -> ResourceRequest:
    """Return what an assistant or thread is to refer to; None is nothing.

    Only while `creating` may vector stores be described in place.

    Raises:
        InvalidInput: naming the part in `param`.
    """
    given = {} if value is None else clean_object(value, param=param, allowed=BUILT_IN)
    files: list[str] | None = None
    if given.get("code_interpreter") is not None:
        inner = f"{param}.code_interpreter"
        part = clean_object(given["code_interpreter"], param=inner, allowed=("file_ids",))
        place = f"{inner}.file_ids"
        ids = clean_list(part.get("file_ids") or [], param=place, limit=MAX_FILES)
        files = [clean_id(one, param=f"{place}[{i}]", prefix=FILE) for i, one in enumerate(ids)]
    if given.get("file_search") is None:
        return ResourceRequest(param=param, code_files=files)
    inner = f"{param}.file_search"
    allowed = ("vector_store_ids", "vector_stores") if creating else ("vector_store_ids",)
    part = clean_object(given["file_search"], param=inner, allowed=allowed)
    place, described = f"{inner}.vector_store_ids", f"{inner}.vector_stores"
    ids = clean_list(part.get("vector_store_ids") or [], param=place, limit=MAX_STORES)
    new = clean_list(part.get("vector_stores") or [], param=described, limit=MAX_STORES)
    if ids and new:
        raise InvalidInput("Name a vector store or describe one, not both.", param=described)
    return ResourceRequest(
        param=param,
        code_files=files,
        store_ids=[clean_id(one, param=f"{place}[{i}]", prefix=STORE) for i, one in enumerate(ids)],
        new_stores=tuple(_parse_new_store(one, f"{described}[{i}]") for i, one in enumerate(new)),
    )


def _parse_new_store(value: Any, param: str) -> RequestedStore:
    allowed = ("file_ids", "chunking_strategy", "metadata")
    given = clean_object(value, param=param, allowed=allowed)
    chunking = clean_chunking(given.get("chunking_strategy"), param=f"{param}.chunking_strategy")
    files = clean_filed(
        given.get("file_ids"), param=f"{param}.file_ids", most=MAX_STORE_FILES, chunking=chunking
    )
    metadata = clean_metadata(given.get("metadata"), param=f"{param}.metadata")
    return RequestedStore(files=files, metadata=metadata, param=param)


def resolve_tool_resources(
    principal: Principal, asked: ResourceRequest, *, owner: Membership | None
) -> Resources:
    """Return the tool resources as they are stored, having made the stores described.

    Without an `owner`, a thread's, they are an assistant's: the company's only.
    Must run in the tenant's scope and a transaction.

    Raises:
        NotFound: for a file or vector store that the principal may not name here.
    """
    company = owner is None
    found: Resources = {}
    if asked.code_files is not None:
        place = f"{asked.param}.code_interpreter.file_ids"
        _check_files(principal, asked.code_files, place, company=company)
        found |= for_code(asked.code_files)
    if asked.store_ids is not None:
        place = f"{asked.param}.file_search.vector_store_ids"
        stores = VectorStore.objects.for_principal(principal)
        _check_there(stores, STORE, asked.store_ids, place, company=company)
        made = [_create_store(principal, new, owner=owner) for new in asked.new_stores]
        found |= for_search([*asked.store_ids, *made])
    return found


def _check_files(principal: Principal, ids: list[str], param: str, *, company: bool) -> None:
    _check_there(File.objects.for_principal(principal), FILE, ids, param, company=company)


def _check_there(
    rows: QuerySet[Any], prefix: str, ids: list[str], param: str, *, company: bool
) -> None:
    named = rows.filter(pk__in=ids, member=None) if company else rows.filter(pk__in=ids)
    there = set(named.values_list("pk", flat=True))
    for index, one in enumerate(ids):
        if one not in there:
            raise not_found(prefix, one, param=f"{param}[{index}]")


def _create_store(principal: Principal, new: RequestedStore, *, owner: Membership | None) -> str:
    if owner is None:
        ids = [file.file_id for file in new.files]
        _check_files(principal, ids, f"{new.param}.file_ids", company=True)
    files = own_files(principal, new.files)
    store = VectorStore(member=owner, metadata=new.metadata, goes_with_threads=owner is not None)
    store.save(force_insert=True)
    add_files(store, files, new.files)
    return str(store.pk)


def check_image_files(principal: Principal, contents: list[Any], *, param: str) -> None:
    """Refuse messages that show pictures which are not the principal's to show.

    Must run in the tenant's scope and a transaction.

    Raises:
        NotFound: for the first such file.
        InvalidInput: for a file that is no picture.
    """
    shown = [
        (part["image_file"]["file_id"], f"{param}[{index}].image_file.file_id")
        for index, part in enumerate(contents)
        if part["type"] == "image_file"
    ]
    if not shown:
        return
    rows = File.objects.for_principal(principal).in_bulk([file_id for file_id, _place in shown])
    for file_id, place in shown:
        if file_id not in rows:
            raise not_found(FILE, file_id, param=place)
        if not rows[file_id].media_type.startswith("image/"):
            raise InvalidInput("This file is no picture.", param=place)
    keep_for_good(rows.values())


def keep_for_good(files: Iterable[File]) -> None:
    """Let files that waited for their message stay with its thread."""
    waiting = [file.pk for file in files if file.goes_with_threads and file.expires_at]
    if waiting:
        File.objects.filter(pk__in=waiting).update(expires_at=None)


def clean_attachments(value: Any, *, param: str = "attachments") -> list[dict[str, Any]]:
    """Return a message's attachments: files, and the tools that get them; None is none.

    Raises:
        InvalidInput, MissingParameter: naming the part in `param`.
    """
    given = [] if value is None else clean_list(value, param=param, limit=MAX_ATTACHMENTS)
    return [_attachment(item, f"{param}[{index}]") for index, item in enumerate(given)]


def _attachment(value: Any, param: str) -> dict[str, Any]:
    given = clean_object(value, param=param, allowed=("file_id", "tools"))
    for name in ("file_id", "tools"):
        if given.get(name) is None:
            raise MissingParameter(param=f"{param}.{name}")
    tools = clean_list(given["tools"], param=f"{param}.tools", limit=len(BUILT_IN))
    for index, tool in enumerate(tools):
        place = f"{param}.tools[{index}]"
        kind = clean_object(tool, param=place, allowed=("type",)).get("type")
        if kind not in BUILT_IN:
            raise InvalidType("Expected 'code_interpreter' or 'file_search'.", param=place)
    file_id = clean_id(given["file_id"], param=f"{param}.file_id", prefix=FILE)
    return {"file_id": file_id, "tools": tools}
