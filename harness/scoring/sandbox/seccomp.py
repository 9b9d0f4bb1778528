"""The system calls that a sandboxed Python may make, as a classic BPF program for seccomp (x86_64 and aarch64).

Everything off the list fails with ENOSYS, as in a kernel that lacks the call, so that libraries take their
portable way. Off the list on purpose: starting processes (a fork bomb has nothing to start with; root has no
RLIMIT_NPROC), signals to others, sockets beyond a pair, memory files and System V memory (which address-space
limits do not see), mounts, namespaces, tracing, keys, io_uring, bpf. `clone` is allowed for threads alone,
whose number the address-space limit bounds. A program may end with a status below 128 alone: bwrap passes a death by
signal on as 128 and its number, and only the system may seem to have killed a program.

The list is syscalls.csv, the calls that Python makes most first, with the numbers of each processor (Linux 6,
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h). `allowed` is always, judge (which forks a
child per program, receives the ends of its pipes, and waits for its end), threads or below 128.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterable
from pathlib import Path

from harness.errors import unknown_choice

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's names of the processors (AUDIT_ARCH_*)."""

CLONE_THREAD = 0x00010000
LIKE_A_SIGNAL = 0x80
X32_BIT = 0x40000000
ENOSYS, EPERM = 38, 1

LOAD_WORD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_OFFSET, ARCHITECTURE_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 4, 16
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def supported(machine: str) -> bool:
    """Whether there is a filter for the processor that `platform.machine()` names."""
    return machine in AUDIT


def calls(machine: str, allowed: str) -> dict[str, int]:
    """The calls that are allowed in this way, with their numbers on a machine, which may lack some."""
    with open(Path(__file__).with_name("syscalls.csv"), encoding="ascii", newline="") as rows:
        return {
            row["name"]: int(row[machine]) for row in csv.DictReader(rows) if row["allowed"] == allowed and row[machine]
        }


def filter_program(machine: str, *, judge: bool = False) -> bytes:
    """The filter as `struct sock_filter[]`, for a program under test or for the judge.

    Raises UserError for a machine other than x86_64 and aarch64.
    """
    if machine not in AUDIT:
        raise unknown_choice("processor", machine, AUDIT, fix="The sandbox's filter knows no other.")
    threads = calls(machine, "threads")
    allowed = calls(machine, "always") | ({**threads, **calls(machine, "judge")} if judge else {})
    head = [
        _step(LOAD_WORD, ARCHITECTURE_OFFSET),
        _step(JUMP_EQUAL, AUDIT[machine], on_true=1),
        _step(RETURN, KILL),
        _step(LOAD_WORD, NUMBER_OFFSET),
        _step(JUMP_GREATER_EQUAL, X32_BIT, on_false=1),
        _step(RETURN, KILL),
    ]
    by_argument: list[bytes] = []
    for number in threads.values():
        by_argument += _by_bit(number, CLONE_THREAD, on_set=ALLOW, on_clear=FAIL | EPERM)
    for number in calls(machine, "below 128").values():
        by_argument += _by_bit(number, LIKE_A_SIGNAL, on_set=FAIL | EPERM, on_clear=ALLOW)
    return b"".join([*head, *_allow(allowed.values()), *by_argument, _step(RETURN, FAIL | ENOSYS)])


def _allow(numbers: Iterable[int]) -> list[bytes]:
    """Two steps per number: go on to the next unless it is this one, then allow."""
    return [step for number in numbers for step in (_step(JUMP_EQUAL, number, on_false=1), _step(RETURN, ALLOW))]


def _by_bit(number: int, bit: int, *, on_set: int, on_clear: int) -> list[bytes]:
    """Decides on a call by one bit of its first argument."""
    return [
        _step(JUMP_EQUAL, number, on_false=4),
        _step(LOAD_WORD, FIRST_ARGUMENT_OFFSET),
        _step(JUMP_SET, bit, on_false=1),
        _step(RETURN, on_set),
        _step(RETURN, on_clear),
    ]


def _step(code: int, operand: int, *, on_true: int = 0, on_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, on_true, on_false, operand)
