"""Landlock: restriction of file access for processes without a mount namespace (Linux 5.13).

Later kernels also block signals to outside processes, and TCP.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

# System call numbers, the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION, PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
# File access rights of ABI version 1, and those added in versions 2, 3 and 5.
FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
TCP, TCP_SINCE = 3, 4
ABSTRACT_SOCKETS_AND_SIGNALS, SCOPED_SINCE = 3, 6


def get_abi_version() -> int:
    """Return the Landlock ABI version of the kernel, 0 if unsupported."""
    return max(0, _call(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION))


def hide_files(*, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Restrict file access to these paths; return False if the kernel lacks Landlock.

    `no_new_privs` must be set before.

    Raises:
        OSError: a Landlock call failed.
    """
    known = get_abi_version()
    if not known:
        return False
    handled = sum(rights for since, rights in FILES.items() if since <= known)
    net = TCP if known >= TCP_SINCE else 0
    scoped = ABSTRACT_SOCKETS_AND_SIGNALS if known >= SCOPED_SINCE else 0
    # Older kernels accept the longer struct if the fields they do not know are zero.
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
