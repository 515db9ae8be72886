"""Serialisation of a Python session, to resume it in another process.

Imports and definitions are saved as source and run again; data is pickled. Both are only loaded
by a session in the same kind of sandbox.
"""

from __future__ import annotations

import io
import pickle  # nosec B403
import types
from collections.abc import Iterator
from functools import partial

from chat.sandbox.inside import frames
from chat.sandbox.inside.errors import catch_exception
from chat.sandbox.inside.interpreter import Interpreter


def dump_variables(interpreter: Interpreter, files: dict[str, bytes]) -> tuple[bytes, list[str]]:
    """Serialise a session; return the bytes and the names of variables that were not saved."""
    kept, lost = _split_picklable(interpreter)
    parts = [
        *(frames.pack({"file": name}, data) for name, data in files.items()),
        *(
            frames.pack({"definition": name}, source.encode())
            for name, source in interpreter.definitions.items()
        ),
        frames.pack({"variables": True}, pickle.dumps(kept)),
    ]
    return b"".join(parts), lost


def load_variables(interpreter: Interpreter, data: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Restore definitions and variables; return the files and the names not restored."""
    files: dict[str, bytes] = {}
    lost: list[str] = []
    for head, body in _parts(data):
        if "file" in head:
            files[str(head["file"])] = body
        elif catch_exception(partial(_restore, interpreter, head, body)):
            lost.append(str(head.get("definition", "variables")))
    return files, lost


def _restore(interpreter: Interpreter, head: frames.Head, body: bytes) -> None:
    # The session's own source and pickles, in the same sandbox as the code that made them.
    namespace = interpreter.module.__dict__
    if "definition" in head:
        source = body.decode()
        exec(source, namespace)  # nosec B102
        interpreter.definitions[str(head["definition"])] = source
    else:
        namespace.update(pickle.loads(body))  # nosec B301


def _parts(data: bytes) -> Iterator[tuple[frames.Head, bytes]]:
    file = io.BytesIO(data)
    try:
        while (part := frames.read(file)) is not None:
            yield part
    except frames.FrameError:
        return


def _split_picklable(interpreter: Interpreter) -> tuple[dict[str, object], list[str]]:
    kept: dict[str, object] = {}
    lost = []
    for name, value in interpreter.module.__dict__.items():
        if name.startswith("__") or isinstance(value, types.ModuleType):
            continue
        if catch_exception(partial(pickle.dumps, value)):
            lost.append(name)
        else:
            kept[name] = value
    return kept, lost
