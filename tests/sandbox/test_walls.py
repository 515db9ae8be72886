"""The filter of system calls, followed step by step for every processor."""

from __future__ import annotations

import errno
import struct

import pytest

from chat.sandbox.inside import seccomp, syscalls

MACHINES = list(syscalls.MACHINES)
READ = {"x86_64": 0, "aarch64": 63}


def answer(machine: str, number: int, *, alone: bool = True, seen_as: str = "") -> int:
    """Run the filter on a call, and return its verdict."""
    code = seccomp.build_filter(machine, alone=alone)
    steps = list(struct.iter_unpack("=HBBI", code))
    words = {
        seccomp.NUMBER_AT: number,
        seccomp.ARCHITECTURE_AT: seccomp.ARCHITECTURES[seen_as or machine],
    }
    place = loaded = 0
    while True:
        kind, jump, otherwise, value = steps[place]
        place += 1
        if kind == seccomp.RETURN:
            return int(value)
        if kind == seccomp.LOAD:
            loaded = words[value]
        else:
            true = loaded == value if kind == seccomp.EQUAL else loaded > value
            place += jump if true else otherwise


@pytest.mark.parametrize("machine", MACHINES)
def test_every_named_call_is_refused(machine: str) -> None:
    column = syscalls.MACHINES[machine]
    numbers = [
        pair[column] for pair in {**syscalls.ALWAYS_REFUSED, **syscalls.PROCESS_CALLS}.values()
    ]
    refused = seccomp.REFUSE | errno.EPERM
    assert {answer(machine, number) for number in numbers if number is not None} == {refused}


@pytest.mark.parametrize("machine", MACHINES)
def test_reading_is_allowed(machine: str) -> None:
    assert answer(machine, READ[machine]) == seccomp.ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_later_kernels_are_unknown(machine: str) -> None:
    assert answer(machine, syscalls.LAST_KNOWN) == seccomp.ALLOW
    assert answer(machine, syscalls.LAST_KNOWN + 1) == seccomp.REFUSE | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_processes_are_refused_only_to_what_is_alone(machine: str) -> None:
    clone = syscalls.PROCESS_CALLS["clone"][syscalls.MACHINES[machine]]
    assert clone is not None
    assert answer(machine, clone, alone=False) == seccomp.ALLOW
    assert answer(machine, syscalls.CLONE3, alone=False) == seccomp.ALLOW
    assert answer(machine, syscalls.CLONE3) == seccomp.REFUSE | errno.ENOSYS


def test_other_numberings_of_the_calls_are_no_way_around() -> None:
    assert answer("x86_64", 0, seen_as="aarch64") == seccomp.KILL
    assert answer("x86_64", seccomp.X32 | 41) == seccomp.KILL


def test_an_unknown_processor_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.build_filter("riscv64", alone=True)
