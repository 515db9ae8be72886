"""Images in messages, prepared for the model server.

The prompt refers to files; their bytes are read after its transaction has ended.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from django.db import transaction
from django.db.models import Q

from chat import storage
from chat.conf import conf
from chat.models import File, Run
from chat.retrieval.file_types import SNIFF_BYTES, detect_media_type
from chat.upstream.base import ImagePart, InputMessage, Item, Part, TextPart
from tenants.addresses import RefusedAddress, check_web_address
from tenants.db import in_db
from tenants.scope import tenant_scope

# Per request, newest images first: model servers limit the request size, and memory is limited.
MAX_BYTES = 20_971_520
_FILE_PREFIX = "file:"
GONE = "[This image is no longer available.]"
UNREADABLE = "[This file is not an image.]"
LEFT_OUT = "[An earlier image was left out to save space.]"
NOT_SENT = "[An image was left out: its URL is not allowed.]"


def check_image_url(url: str) -> None:
    """Check that a model server may be asked to fetch this image URL.

    The model server fetches it, Atrium never does: the URL must not point into the model
    server's own network.

    Raises:
        RefusedAddress: the URL is not allowed; the message states the reason.
    """
    if not conf.image_urls:
        raise RefusedAddress("Image URLs are disabled. Upload the file instead.")
    check_web_address(url, allowed_hosts=conf.image_hosts)


def build_linked_part(url: str, detail: str) -> Part:
    """Return the content part for an image URL, or a note if the URL is not allowed.

    Stored messages keep URLs that were accepted under earlier settings.
    """
    try:
        check_image_url(url)
    except RefusedAddress:
        return TextPart(text=NOT_SENT)
    return ImagePart(url=url, detail=detail)


def build_placeholder(file_id: str, detail: str) -> ImagePart:
    """Return the content part for an image file, to be filled in by `embed_images`."""
    return ImagePart(url=f"{_FILE_PREFIX}{file_id}", detail=detail)


async def embed_images(run: Run, items: Sequence[Item]) -> tuple[Item, ...]:
    """Return a prompt's items with image files replaced by data URLs.

    A file that is missing, not an image, or beyond the size limit is replaced by a
    note. Images in assistant messages are left out: model servers reject them.
    """
    items = list(_drop_assistant_images(items))
    wanted = [part.url.removeprefix(_FILE_PREFIX) for part in _list_file_images(items)]
    if not wanted:
        return tuple(items)
    rows = await in_db(_load_files, run, set(wanted))
    fitting = _choose_fitting(wanted, rows)
    shown = await asyncio.to_thread(_read_all, [rows[file_id] for file_id in fitting])
    return tuple(_replace_images(item, shown, rows) for item in items)


def _drop_assistant_images(items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, InputMessage) and item.role == "assistant":
            texts = tuple(part for part in item.parts if isinstance(part, TextPart))
            if texts:
                yield replace(item, parts=texts)
        else:
            yield item


def _list_file_images(items: Iterable[Item]) -> list[ImagePart]:
    return [
        part
        for item in items
        if isinstance(item, InputMessage)
        for part in item.parts
        if isinstance(part, ImagePart) and part.url.startswith(_FILE_PREFIX)
    ]


def _load_files(run: Run, file_ids: set[str]) -> dict[str, File]:
    """Return the files, by id, that belong to the thread's owner or to the company."""
    with tenant_scope(run.tenant_id), transaction.atomic():
        owned = Q(member_id=run.member_id) | Q(member_id=None)
        return dict(File.objects.alive().filter(owned).in_bulk(file_ids))


def _choose_fitting(wanted: Sequence[str], rows: dict[str, File]) -> set[str]:
    fitting: set[str] = set()
    left = MAX_BYTES
    for file_id in reversed(wanted):
        if file_id in rows:
            left -= rows[file_id].bytes
            if left < 0:
                break
            fitting.add(file_id)
    return fitting


def _read_all(rows: Iterable[File]) -> dict[str, str]:
    """Return a data URL for each readable file, "" for a file that is not an image."""
    found: dict[str, str] = {}
    for row in rows:
        # A file may have been deleted since the query.
        with suppress(FileNotFoundError):
            found[row.pk] = _build_data_url(storage.read_content(row.storage_key))
    return found


def _build_data_url(data: bytes) -> str:
    kind = detect_media_type(data[:SNIFF_BYTES], "")
    if not kind.startswith("image/"):
        return ""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _replace_images(item: Item, shown: dict[str, str], rows: dict[str, File]) -> Item:
    if not isinstance(item, InputMessage):
        return item
    return replace(item, parts=tuple(_resolve_part(part, shown, rows) for part in item.parts))


def _resolve_part(part: Part, shown: dict[str, str], rows: dict[str, File]) -> Part:
    if isinstance(part, TextPart) or not part.url.startswith(_FILE_PREFIX):
        return part
    file_id = part.url.removeprefix(_FILE_PREFIX)
    if shown.get(file_id):
        return replace(part, url=shown[file_id])
    if file_id in shown:
        return TextPart(text=UNREADABLE)
    return TextPart(text=LEFT_OUT if file_id in rows else GONE)
