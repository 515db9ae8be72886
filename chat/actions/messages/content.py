"""Validation of message content: text, and images by URL or file."""

from __future__ import annotations

from typing import Any

from chat import wire
from chat.actions.fields import clean_choice, clean_id, clean_list, clean_object, clean_text
from chat.conf import conf
from chat.errors import InvalidInput, InvalidType
from chat.runs.prompt.images import check_image_url
from tenants.addresses import RefusedAddress

MAX_PARTS, MAX_URL = 512, 8_192
DETAILS = ("auto", "low", "high")
_KINDS = ("text", "image_url", "image_file")


def clean_content(value: Any, *, param: str = "content") -> list[dict[str, Any]]:
    """Validate text or content parts and return the parts to store.

    Raises:
        InvalidInput: the content is empty, too long or malformed.
        NotFound: the ID of an image file cannot exist.
    """
    if isinstance(value, str):
        parts = [_clean_text_part(value, param)]
    elif isinstance(value, list):
        given = clean_list(value, param=param, limit=MAX_PARTS)
        parts = [_clean_part(item, f"{param}[{index}]") for index, item in enumerate(given)]
    else:
        raise InvalidType("Expected a string or an array of content parts.", param=param)
    texts = [part["text"]["value"] for part in parts if part["type"] == "text"]
    if not parts or (len(texts) == len(parts) and not any(text.strip() for text in texts)):
        raise InvalidInput("Message content must be non-empty.", param=param)
    if sum(map(len, texts)) > conf.message_characters:
        raise InvalidInput(
            f"A message can have at most {conf.message_characters:,} characters.", param=param
        )
    return parts


def _clean_part(value: Any, param: str) -> dict[str, Any]:
    given = clean_object(value, param=param)
    kind = clean_choice(given.get("type"), param=f"{param}.type", choices=_KINDS)
    clean_object(given, param=param, allowed=("type", kind))
    if kind == "text":
        return _clean_text_part(given.get("text"), f"{param}.text")
    if kind == "image_url":
        return {"type": kind, kind: _clean_image_url(given.get(kind), f"{param}.{kind}")}
    return {"type": kind, kind: _clean_image_file(given.get(kind), f"{param}.{kind}")}


def _clean_text_part(value: Any, param: str) -> dict[str, Any]:
    return wire.text_part(clean_text(value, param=param, limit=conf.message_characters))


def _clean_image_url(value: Any, param: str) -> dict[str, str]:
    image = clean_object(value, param=param, allowed=("url", "detail"))
    url = clean_text(image.get("url"), param=f"{param}.url", limit=MAX_URL)
    try:
        check_image_url(url)
    except RefusedAddress as error:
        raise InvalidInput(str(error), param=f"{param}.url") from None
    return {"url": url, "detail": _clean_detail(image, param)}


def _clean_image_file(value: Any, param: str) -> dict[str, str]:
    image = clean_object(value, param=param, allowed=("file_id", "detail"))
    detail = _clean_detail(image, param)
    file_id = clean_id(image.get("file_id"), param=f"{param}.file_id", prefix="file-")
    return {"file_id": file_id, "detail": detail}


def _clean_detail(image: dict[str, Any], param: str) -> str:
    detail = image.get("detail", "auto")
    return clean_choice(detail, param=f"{param}.detail", choices=DETAILS)
