"""Tool resources of assistants and threads: files and vector stores.

The `clean_` functions validate shapes before the transaction; `resolve_tool_resources`
resolves the IDs within it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from chat.actions.assistants.tool_definitions import BUILT_IN_TOOLS
from chat.actions.fields import (
    build_not_found,
    clean_id,
    clean_list,
    clean_metadata,
    clean_object,
)
from chat.actions.vector_stores.indexing import (
    FILE_PREFIX,
    FileToIndex,
    add_files,
    clean_chunking,
    clean_file_ids,
    get_own_files,
)
from chat.actions.vector_stores.manage import STORE_PREFIX
from chat.errors import InvalidInput, InvalidType, MissingParameter
from chat.models import File, VectorStore
from chat.models.resources import Resources, build_code_resources, build_search_resources
from tenants.authentication import Principal
from tenants.models import Membership

MAX_FILES, MAX_STORES, MAX_ATTACHMENTS, MAX_STORE_FILES = 20, 1, 500, 10_000


@dataclass(frozen=True, kw_only=True)
class RequestedStore:
    """A vector store described inline, to be created together with its user."""

    files: list[FileToIndex]
    metadata: dict[str, str]
    param: str


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """Requested tool resources; None for a tool that the request does not name."""

    param: str
    code_files: list[str] | None = None
    store_ids: list[str] | None = None
    new_stores: tuple[RequestedStore, ...] = ()


def clean_tool_resources(
    value: Any, *, creating: bool = True, param: str = "tool_resources"
) -> ResourceRequest:
    """Validate the `tool_resources` of an assistant or thread; None means no resources.

    Vector stores may be described inline only with `creating`.

    Raises:
        InvalidInput: a value is invalid; `param` names it.
        NotFound: no row can have one of the IDs.
    """
    given = {} if value is None else clean_object(value, param=param, allowed=BUILT_IN_TOOLS)
    files: list[str] | None = None
    if given.get("code_interpreter") is not None:
        inner = f"{param}.code_interpreter"
        part = clean_object(given["code_interpreter"], param=inner, allowed=("file_ids",))
        place = f"{inner}.file_ids"
        ids = clean_list(part.get("file_ids") or [], param=place, limit=MAX_FILES)
        files = [
            clean_id(item, param=f"{place}[{i}]", prefix=FILE_PREFIX) for i, item in enumerate(ids)
        ]
    if given.get("file_search") is None:
        return ResourceRequest(param=param, code_files=files)
    inner = f"{param}.file_search"
    allowed = ("vector_store_ids", "vector_stores") if creating else ("vector_store_ids",)
    part = clean_object(given["file_search"], param=inner, allowed=allowed)
    place, described = f"{inner}.vector_store_ids", f"{inner}.vector_stores"
    ids = clean_list(part.get("vector_store_ids") or [], param=place, limit=MAX_STORES)
    new = clean_list(part.get("vector_stores") or [], param=described, limit=MAX_STORES)
    if ids and new:
        raise InvalidInput(
            "Provide either 'vector_store_ids' or 'vector_stores', not both.", param=described
        )
    return ResourceRequest(
        param=param,
        code_files=files,
        store_ids=[
            clean_id(item, param=f"{place}[{i}]", prefix=STORE_PREFIX) for i, item in enumerate(ids)
        ],
        new_stores=tuple(_parse_new_store(item, f"{described}[{i}]") for i, item in enumerate(new)),
    )


def _parse_new_store(value: Any, param: str) -> RequestedStore:
    allowed = ("file_ids", "chunking_strategy", "metadata")
    given = clean_object(value, param=param, allowed=allowed)
    chunking = clean_chunking(given.get("chunking_strategy"), param=f"{param}.chunking_strategy")
    files = clean_file_ids(
        given.get("file_ids"), param=f"{param}.file_ids", most=MAX_STORE_FILES, chunking=chunking
    )
    metadata = clean_metadata(given.get("metadata"), param=f"{param}.metadata")
    return RequestedStore(files=files, metadata=metadata, param=param)


def resolve_tool_resources(
    principal: Principal, request: ResourceRequest, *, owner: Membership | None
) -> Resources:
    """Check the requested IDs, create the described stores and return the value to store.

    `owner` is the member who owns the thread. None means an assistant, which may refer
    to the company's files and stores only. Call within a tenant transaction.

    Raises:
        NotFound: a file or vector store does not exist or may not be used here.
    """
    company = owner is None
    resources: Resources = {}
    if request.code_files is not None:
        place = f"{request.param}.code_interpreter.file_ids"
        _check_files(principal, request.code_files, place, company=company)
        resources |= build_code_resources(request.code_files)
    if request.store_ids is not None:
        place = f"{request.param}.file_search.vector_store_ids"
        stores = VectorStore.objects.visible_to(principal)
        _check_exist(stores, STORE_PREFIX, request.store_ids, place, company=company)
        created = [_create_store(principal, new, owner=owner) for new in request.new_stores]
        resources |= build_search_resources([*request.store_ids, *created])
    return resources


def _check_files(principal: Principal, ids: list[str], param: str, *, company: bool) -> None:
    _check_exist(File.objects.visible_to(principal), FILE_PREFIX, ids, param, company=company)


def _check_exist(
    rows: QuerySet[Any], prefix: str, ids: list[str], param: str, *, company: bool
) -> None:
    named = rows.filter(pk__in=ids, member=None) if company else rows.filter(pk__in=ids)
    existing = set(named.values_list("pk", flat=True))
    for index, row_id in enumerate(ids):
        if row_id not in existing:
            raise build_not_found(prefix, row_id, param=f"{param}[{index}]")


def _create_store(principal: Principal, new: RequestedStore, *, owner: Membership | None) -> str:
    if owner is None:
        ids = [file.file_id for file in new.files]
        _check_files(principal, ids, f"{new.param}.file_ids", company=True)
    files = get_own_files(principal, new.files)
    store = VectorStore(member=owner, metadata=new.metadata, goes_with_threads=owner is not None)
    store.save(force_insert=True)
    add_files(store, files, new.files)
    return str(store.pk)


def check_image_files(principal: Principal, contents: list[Any], *, param: str) -> None:
    """Check that the image files in message content belong to the principal.

    Also keeps them from expiring. Call within a tenant transaction.

    Raises:
        NotFound: a file does not exist or does not belong to the principal.
        InvalidInput: a file is not an image.
    """
    shown = [
        (part["image_file"]["file_id"], f"{param}[{index}].image_file.file_id")
        for index, part in enumerate(contents)
        if part["type"] == "image_file"
    ]
    if not shown:
        return
    rows = File.objects.visible_to(principal).in_bulk([file_id for file_id, _place in shown])
    for file_id, place in shown:
        if file_id not in rows:
            raise build_not_found(FILE_PREFIX, file_id, param=place)
        if not rows[file_id].media_type.startswith("image/"):
            raise InvalidInput("This file is not an image.", param=place)
    clear_expiry(rows.values())


def clear_expiry(files: Iterable[File]) -> None:
    """Remove the expiry of uploaded attachments: from now on they are deleted with their thread."""
    waiting = [file.pk for file in files if file.goes_with_threads and file.expires_at]
    if waiting:
        File.objects.filter(pk__in=waiting).update(expires_at=None)


def clean_attachments(value: Any, *, param: str = "attachments") -> list[dict[str, Any]]:
    """Validate a message's attachments: files and the tools that use them; None means none.

    Raises:
        InvalidInput: a value is invalid; `param` names it.
        MissingParameter: an attachment has no `file_id` or no `tools`.
        NotFound: no file can have one of the IDs.
    """
    given = [] if value is None else clean_list(value, param=param, limit=MAX_ATTACHMENTS)
    return [_clean_attachment(item, f"{param}[{index}]") for index, item in enumerate(given)]


def _clean_attachment(value: Any, param: str) -> dict[str, Any]:
    given = clean_object(value, param=param, allowed=("file_id", "tools"))
    for name in ("file_id", "tools"):
        if given.get(name) is None:
            raise MissingParameter(param=f"{param}.{name}")
    tools = clean_list(given["tools"], param=f"{param}.tools", limit=len(BUILT_IN_TOOLS))
    for index, tool in enumerate(tools):
        place = f"{param}.tools[{index}]"
        kind = clean_object(tool, param=place, allowed=("type",)).get("type")
        if kind not in BUILT_IN_TOOLS:
            raise InvalidType("Expected 'code_interpreter' or 'file_search'.", param=place)
    file_id = clean_id(given["file_id"], param=f"{param}.file_id", prefix=FILE_PREFIX)
    return {"file_id": file_id, "tools": tools}
