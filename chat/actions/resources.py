"""References to files and vector stores. There are none yet: every id names nothing."""

from __future__ import annotations

from typing import Any

from chat.actions.fields import clean_id, clean_list, clean_metadata, clean_object, not_found
from chat.actions.tool_definitions import whole_number
from chat.errors import InvalidInput, InvalidType, MissingParameter

MAX_FILES, MAX_STORES, MAX_ATTACHMENTS, MAX_STORE_FILES = 20, 1, 500, 10_000
FILE, STORE = "file-", "vs_"
ATTACHABLE = ("code_interpreter", "file_search")
Resources = dict[str, Any]


def clean_tool_resources(
    value: Any, *, creating: bool = True, param: str = "tool_resources"
) -> Resources:
    """Return what an assistant or thread refers to; None is nothing.

    Only while `creating` may vector stores be described in place.

    Raises:
        InvalidInput: naming the part in `param`.
        NotFound: for a file or vector store that does not exist.
    """
    given = {} if value is None else clean_object(value, param=param, allowed=ATTACHABLE)
    found: Resources = {}
    if given.get("code_interpreter") is not None:
        inner = f"{param}.code_interpreter"
        part = clean_object(given["code_interpreter"], param=inner, allowed=("file_ids",))
        files = clean_file_ids(part.get("file_ids"), param=f"{inner}.file_ids", limit=MAX_FILES)
        found["code_interpreter"] = {"file_ids": files}
    if given.get("file_search") is not None:
        found["file_search"] = _file_search(given["file_search"], f"{param}.file_search", creating)
    return found


def _file_search(value: Any, param: str, creating: bool) -> Resources:
    allowed = ("vector_store_ids", "vector_stores") if creating else ("vector_store_ids",)
    given = clean_object(value, param=param, allowed=allowed)
    named = f"{param}.vector_store_ids"
    stores = clean_list(given.get("vector_store_ids") or [], param=named, limit=MAX_STORES)
    for index, store in enumerate(stores):
        place = f"{named}[{index}]"
        raise not_found(STORE, clean_id(store, param=place, prefix=STORE), param=place)
    described = f"{param}.vector_stores"
    new = clean_list(given.get("vector_stores") or [], param=described, limit=MAX_STORES)
    for index, store in enumerate(new):
        _refuse_new_store(store, f"{described}[{index}]")
    return {"vector_store_ids": stores}


def _refuse_new_store(value: Any, param: str) -> None:
    allowed = ("file_ids", "chunking_strategy", "metadata")
    given = clean_object(value, param=param, allowed=allowed)
    clean_metadata(given.get("metadata"), param=f"{param}.metadata")
    if given.get("chunking_strategy") is not None:
        _check_chunking(given["chunking_strategy"], f"{param}.chunking_strategy")
    clean_file_ids(given.get("file_ids"), param=f"{param}.file_ids", limit=MAX_STORE_FILES)
    raise InvalidInput("This server has no vector stores yet.", param=param)


def _check_chunking(value: Any, param: str) -> None:
    given = clean_object(value, param=param, allowed=("type", "static"))
    if given.get("type") == "auto" and "static" not in given:
        return
    if given.get("type") != "static":
        raise InvalidInput("Expected 'auto', or 'static' with its sizes.", param=f"{param}.type")
    place = f"{param}.static"
    allowed = ("max_chunk_size_tokens", "chunk_overlap_tokens")
    sizes = clean_object(given.get("static"), param=place, allowed=allowed)
    largest = whole_number(sizes, "max_chunk_size_tokens", place, least=100, most=4096)
    whole_number(sizes, "chunk_overlap_tokens", place, least=0, most=largest // 2)


def clean_file_ids(value: Any, *, param: str, limit: int) -> list[str]:
    """Return a list of at most `limit` ids of files; None is none.

    Raises:
        InvalidInput: for anything else.
        NotFound: for a file that does not exist.
    """
    ids = [] if value is None else clean_list(value, param=param, limit=limit)
    for index, file_id in enumerate(ids):
        clean_file_id(file_id, param=f"{param}[{index}]")
    return ids


def clean_file_id(value: Any, *, param: str) -> str:
    """Return the id of a file; raises as `clean_file_ids`."""
    raise not_found(FILE, clean_id(value, param=param, prefix=FILE), param=param)


def clean_attachments(value: Any, *, param: str = "attachments") -> list[Resources]:
    """Return a message's attachments: files, and the tools that get them; None is none.

    Raises:
        InvalidInput, MissingParameter, NotFound: naming the part in `param`.
    """
    given = [] if value is None else clean_list(value, param=param, limit=MAX_ATTACHMENTS)
    return [_attachment(item, f"{param}[{index}]") for index, item in enumerate(given)]


def _attachment(value: Any, param: str) -> Resources:
    given = clean_object(value, param=param, allowed=("file_id", "tools"))
    for name in ("file_id", "tools"):
        if given.get(name) is None:
            place = f"{param}.{name}"
            raise MissingParameter(f"Missing required parameter: '{place}'.", param=place)
    tools = clean_list(given["tools"], param=f"{param}.tools", limit=len(ATTACHABLE))
    for index, tool in enumerate(tools):
        place = f"{param}.tools[{index}]"
        kind = clean_object(tool, param=place, allowed=("type",)).get("type")
        if kind not in ATTACHABLE:
            raise InvalidType("Expected 'code_interpreter' or 'file_search'.", param=place)
    file_id = clean_file_id(given["file_id"], param=f"{param}.file_id")
    return {"file_id": file_id, "tools": tools}
