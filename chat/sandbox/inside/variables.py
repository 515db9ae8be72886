"""A Python session as bytes, for another process to go on with.

What was imported and defined is kept as source and run again; data is pickled. Both are read
again by a session behind the same wall only.
"""

from __future__ import annotations

import io
import pickle  # nosec B403
import types
from collections.abc import Iterator
from functools import partial

from chat.sandbox.inside import frames
from chat.sandbox.inside.caught import caught
from chat.sandbox.inside.interpreter import Interpreter


def dump_variables(interpreter: Interpreter, files: dict[str, bytes]) -> tuple[bytes, list[str]]:
    """Return the bytes, and the names of the variables that are not in them."""
    kept, lost = _picklable(interpreter)
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
    """Bring definitions and variables back; return the files, and the names that are missing."""
    files: dict[str, bytes] = {}
    lost: list[str] = []
    for head, body in _parts(data):
        if "file" in head:
            files[str(head["file"])] = body
        elif caught(partial(_restore, interpreter, head, body)):
            lost.append(str(head.get("definition", "variables")))
    return files, lost


def _restore(interpreter: Interpreter, head: frames.Head, body: bytes) -> None:
    # The session's own source and pickles, behind the same wall as the code that made them.
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


def _picklable(interpreter: Interpreter) -> tuple[dict[str, object], list[str]]:
    kept: dict[str, object] = {}
    lost = []
    for name, value in interpreter.module.__dict__.items():
        if name.startswith("__") or isinstance(value, types.ModuleType):
            continue
        if caught(partial(pickle.dumps, value)):
            lost.append(name)
        else:
            kept[name] = value
    return kept, lost
