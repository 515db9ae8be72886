"""Reading of untrusted files in a subprocess with time and memory limits.

Run as a module, this is the subprocess: it reads the file from standard input and writes one
JSON object to standard output. It does not inherit the environment, so it has no secrets.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from chat.retrieval.errors import Unreadable, UnsupportedFile
from chat.retrieval.extract import ExtractedText, extract
from chat.retrieval.file_types import Kind
from chat.retrieval.limits import MAX_CHARACTERS

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ReadingLimits:
    """Limits on reading one file: wall-clock seconds, and MiB of address space."""

    seconds: float = 120
    memory_mib: int = 2048


async def read_file(file: IO[bytes], name: str, *, limits: ReadingLimits) -> ExtractedText:
    """Return the text of an open file, which must have a file descriptor.

    Raises:
        Unreadable: the file is damaged, encrypted, empty, too long, or exceeded the limits.
        UnsupportedFile: the file type is not supported.
    """
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "chat.retrieval.subprocess_reader",
            str(limits.memory_mib),
            name[-200:],
        ),
        stdin=file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=REPOSITORY_ROOT,
        env={"PYTHONIOENCODING": "utf-8", "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(limits.seconds):
            # The maximum text length as JSON with all characters escaped; the rest is cut off.
            output = await _read_all(process.stdout, most=MAX_CHARACTERS * 6 + MIB)
            await process.wait()
    except TimeoutError:
        raise Unreadable(
            "Processing this file took too long. Split it into smaller files."
        ) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return _parse_result(output)


async def _read_all(stream: asyncio.StreamReader, *, most: int) -> bytes:
    output = bytearray()
    while piece := await stream.read(MIB):
        output += piece
        if len(output) > most:
            break
    return bytes(output)


def _parse_result(output: bytes) -> ExtractedText:
    try:
        body = json.loads(output)
    except ValueError:
        # The subprocess died: it exceeded a limit, or a parser crashed.
        raise Unreadable("This file is too complex to process.") from None
    if "error" in body:
        kind = UnsupportedFile if body["error"] == UnsupportedFile.code else Unreadable
        raise kind(body["message"])
    return ExtractedText(kind=Kind(body["kind"]), text=body["text"], pages=tuple(body["pages"]))


def _limit_resources(memory_mib: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib * MIB, memory_mib * MIB))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


def _run_extraction(memory_mib: int, name: str) -> dict[str, Any]:
    _limit_resources(memory_mib)
    try:
        found = extract(sys.stdin.buffer.read(), name)
    except Unreadable as error:
        return {"error": error.code, "message": error.message}
    except (MemoryError, RecursionError):
        message = "This file is too complex to process."
        return {"error": Unreadable.code, "message": message}
    return {"kind": found.kind, "text": found.text, "pages": found.pages}


if __name__ == "__main__":
    json.dump(_run_extraction(int(sys.argv[1]), sys.argv[2]), sys.stdout)
