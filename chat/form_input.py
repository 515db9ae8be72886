"""Parsing of multipart/form-data bodies with a file, which is never held in memory whole."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError

from chat.errors import InvalidInput, MissingParameter, UnknownParameter, WrongMediaType

# "expires_after[seconds]": the official clients' notation for nested fields.
_NESTED = re.compile(r"([a-z_]{1,64})\[([a-z_]{1,64})\]\Z")


class NotMultipart(WrongMediaType):
    """The request body must be a form with a file (multipart/form-data)."""


def read_form(
    request: HttpRequest, *, file: str, fields: tuple[str, ...]
) -> tuple[dict[str, Any], UploadedFile[Any]]:
    """Return the fields of a form, nested ones as objects, and its file.

    Raises:
        NotMultipart: the body is not multipart/form-data.
        InvalidInput: the form is malformed, or a field is given more than once.
        UnknownParameter: a field is not in `fields`.
        MissingParameter: the file is missing.
    """
    if request.content_type != "multipart/form-data":
        raise NotMultipart()
    try:
        given, files = request.POST.lists(), request.FILES
    except (MultiPartParserError, SuspiciousOperation):
        raise InvalidInput("The request body is not a valid form.") from None
    values: dict[str, Any] = {}
    for name, texts in given:
        _set_field(values, name, texts, fields=fields)
    for name, several in files.lists():
        if name != file:
            raise UnknownParameter(f"Unknown parameter: '{name[:200]}'.", param=name[:200])
        if len(several) > 1:
            raise InvalidInput(f"Send one file in '{file}', not {len(several)}.", param=file)
    found = files.get(file)
    if found is None:
        raise MissingParameter(param=file)
    return values, found


def _set_field(
    values: dict[str, Any], name: str, texts: list[Any], *, fields: tuple[str, ...]
) -> None:
    outer, _, inner = name.partition("[")
    nested = _NESTED.match(name)
    if outer not in fields or (inner and nested is None):
        raise UnknownParameter(f"Unknown parameter: '{name[:200]}'.", param=name[:200])
    if len(texts) > 1:
        raise InvalidInput(f"Parameter given more than once: '{name}'.", param=name)
    if nested is None:
        values[name] = texts[0]
    else:
        part = values.setdefault(nested[1], {})
        if not isinstance(part, dict):
            raise InvalidInput(f"Parameter given more than once: '{outer}'.", param=outer)
        part[nested[2]] = int(texts[0]) if re.fullmatch(r"[0-9]{1,12}", texts[0]) else texts[0]
