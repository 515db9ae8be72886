"""Input and output files of code sessions.

Input names are sanitised here; output names were validated by the sandbox. Neither is ever part
of a path on this machine.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath

from chat import storage
from chat.errors import ChatError
from chat.models import File, Run, Thread
from chat.models.files import Purpose
from chat.models.resources import get_code_file_ids
from chat.retrieval.file_types import SNIFF_BYTES, detect_media_type
from chat.sandbox.base import MAX_NAME_LENGTH, CodeResult
from chat.tools.base import get_resources
from tenants.authentication import Principal

# Bytes reserved in a name for a suffix that makes it unique.
SUFFIX_BYTES = 8
NAME = "code_interpreter"
SUFFIXES = {"image/png": ".png", "image/svg+xml": ".svg"}


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file that the code may read, and its name in the session's folder."""

    file: File
    name: str


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A file or image produced by the code. Its row and bytes are stored, but not yet visible."""

    row: File
    is_picture: bool


def list_inputs(principal: Principal, run: Run, *, named: Mapping[str, str]) -> list[InputFile]:
    """Return the files of the run's assistant and thread with unique names.

    `named` maps the ids of files that already have a name to it. Call within the tenant's scope
    and a transaction.
    """
    assistants, threads = map(get_code_file_ids, get_resources(run))
    if not assistants and not threads:
        return []
    found = File.objects.alive().filter(member=None).in_bulk(assistants)
    found |= File.objects.visible_to(principal).in_bulk(threads)
    rows = [
        found[fromkey] for fromkey in dict.fromkeys([*assistants, *threads]) if fromkey in found
    ]
    taken = {named[row.pk] for row in rows if row.pk in named}
    inputs = []
    for row in rows:
        name = named.get(row.pk) or choose_name(row.filename, taken)
        taken.add(name)
        inputs.append(InputFile(file=row, name=name))
    return inputs


def choose_name(filename: str, taken: Iterable[str]) -> str:
    """Return a safe name based on `filename` that is not in `taken`."""
    plain = unicodedata.normalize("NFC", filename).replace("/", "_").replace("\\", "_")
    plain = "".join(sign if sign.isprintable() else "_" for sign in plain).strip().lstrip(".")
    path = PurePosixPath(plain or "file")
    suffix = _cut(path.suffix, 40)
    stem = _cut(path.stem, MAX_NAME_LENGTH - SUFFIX_BYTES - len(suffix.encode()))
    names = (f"{stem} ({number}){suffix}" for number in range(2, 1000))
    return next(name for name in (f"{stem}{suffix}", *names) if name not in taken)


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def write_outputs(thread: Thread, outcome: CodeResult) -> tuple[list[OutputFile], list[str]]:
    """Store the outputs of a run, images first; return them and messages about failures.

    Opens its own transactions. Each returned row must be passed to `chat.storage.finalize` or
    `discard`.
    """
    outputs, refused = [], []
    for name, media_type, data, is_picture in _iter_outputs(outcome):
        row = File(
            tenant_id=thread.tenant_id,
            member_id=thread.member_id,
            purpose=Purpose.ASSISTANTS_OUTPUT,
            filename=name,
            media_type=media_type,
        )
        try:
            storage.write_new(row, BytesIO(data))
        except ChatError as error:
            refused.append(f"{name} was not saved: {error}")
        else:
            outputs.append(OutputFile(row=row, is_picture=is_picture))
    return outputs, refused


def _iter_outputs(outcome: CodeResult) -> Iterator[tuple[str, str, bytes, bool]]:
    for number, image in enumerate(outcome.images, start=1):
        suffix = SUFFIXES[image.type]
        name = f"chart-{number}{suffix}" if number > 1 else f"chart{suffix}"
        yield name, image.type, image.data, True
    for file in outcome.files:
        yield file.name, detect_media_type(file.data[:SNIFF_BYTES], file.name), file.data, False
