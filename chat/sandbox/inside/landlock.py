"""Hides the machine's files from a process that keeps the machine's file system (Linux 5.13).

Later kernels also keep it from signalling processes outside, and from TCP.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

# Numbers of the calls, the same on every processor.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION, PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
# All that the first version knows, and what the second, third and fifth added.
FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
TCP, TCP_SINCE = 3, 4
ABSTRACT_SOCKETS_AND_SIGNALS, SCOPED_SINCE = 3, 6


def version() -> int:
    """Return what the kernel knows of it, 0 for nothing."""
    return max(0, _call(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION))


def hide_files(*, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Leave only these folders and files; return False where the kernel cannot.

    `no_new_privs` has to be set before. Raises OSError.
    """
    known = version()
    if not known:
        return False
    handled = sum(rights for since, rights in FILES.items() if since <= known)
    net = TCP if known >= TCP_SINCE else 0
    scoped = ABSTRACT_SOCKETS_AND_SIGNALS if known >= SCOPED_SINCE else 0
    # An older kernel takes the longer form too, when what it does not know is zero.
    attributes = struct.pack("=QQQ", handled, net, scoped)
    rules = _check_result(_call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path in readable:
            _allow(rules, path, EXECUTE | READ_FILE | READ_DIR)
        for path in writable:
            _allow(rules, path, READ_FILE | WRITE_FILE)
        _check_result(_call(RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)
    return True


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        number = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = rights if path.is_dir() else rights & ~READ_DIR
        _check_result(_call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, number), 0))
    finally:
        os.close(number)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(ctypes.c_long(number), *arguments))


def _check_result(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return result
