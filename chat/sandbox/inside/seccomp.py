"""Self-isolation of a session's process before it runs model code: seccomp and limits."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct

from chat.sandbox.inside import syscalls

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000  # flag of the x32 ABI: the same calls under other numbers, on x86-64

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8

# Classic BPF: load a word of seccomp_data, jump if equal or above, return.
LOAD, EQUAL, ABOVE, RETURN = 0x20, 0x15, 0x25, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def _load_libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount_memory(folder: str, *, size: int, entries: int) -> None:
    """Mount a tmpfs of `size` bytes with `entries` inodes. Raises OSError if mounting fails."""
    options = f"size={size},nr_inodes={entries},mode=700".encode()
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _check(_load_libc().mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options), "mount")


def drop_capabilities() -> None:
    """Drop all capabilities. Raises OSError if the call fails."""
    head = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    _check(_load_libc().capset(head, bytes(24)), "capset")


def limit_resources(*, address_space: int, file: int, cpu_seconds: int, open_files: int) -> None:
    """Set hard resource limits, which cannot be raised again. Sizes in bytes."""
    for kind, most in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        now = resource.getrlimit(kind)[1]
        allowed = most if now == resource.RLIM_INFINITY else min(most, now)
        resource.setrlimit(kind, (allowed, allowed))


def build_filter(machine: str, *, alone: bool) -> bytes:
    """Build the BPF program for an architecture. `alone` also refuses new processes and signals.

    Raises:
        KeyError: the system call numbers of the architecture are not known.
    """
    column = syscalls.MACHINES[machine]
    refused = {**syscalls.ALWAYS_REFUSED, **(syscalls.PROCESS_CALLS if alone else {})}
    numbers = [pair[column] for pair in refused.values()]
    code = [
        _encode_instruction(LOAD, ARCHITECTURE_AT),
        _encode_instruction(EQUAL, ARCHITECTURES[machine], jump=1),
        _encode_instruction(RETURN, KILL),
        _encode_instruction(LOAD, NUMBER_AT),
    ]
    if machine == "x86_64":
        code += [
            _encode_instruction(ABOVE, X32 - 1, otherwise=1),
            _encode_instruction(RETURN, KILL),
        ]
    code += [
        _encode_instruction(ABOVE, syscalls.LAST_KNOWN, otherwise=1),
        _encode_instruction(RETURN, REFUSE | errno.ENOSYS),
    ]
    if alone:
        code += [
            _encode_instruction(EQUAL, syscalls.CLONE3, otherwise=1),
            _encode_instruction(RETURN, REFUSE | errno.ENOSYS),
        ]
    for number in numbers:
        if number is not None:
            code += [
                _encode_instruction(EQUAL, number, otherwise=1),
                _encode_instruction(RETURN, REFUSE | errno.EPERM),
            ]
    return b"".join([*code, _encode_instruction(RETURN, ALLOW)])


def _encode_instruction(code: int, value: int, *, jump: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump, otherwise, value)


def refuse_system_calls(*, alone: bool) -> None:
    """Install the seccomp filter for this process and its children.

    Raises:
        OSError: a system call failed.
        KeyError: the system call numbers of this architecture are not known.
    """
    libc = _load_libc()
    code = build_filter(os.uname().machine, alone=alone)
    program = _Program(len(code) // 8, code)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")
