"""The system calls that a sandboxed Python may make, as a classic BPF program for seccomp (x86_64 and aarch64).

Everything off the list fails with ENOSYS, as in a kernel that lacks the call, so that libraries take their
portable way. Off the list on purpose: starting processes (a fork bomb has nothing to start with; root has no
RLIMIT_NPROC), signals to others, sockets beyond a pair, memory files and System V memory (which address-space
limits do not see), mounts, namespaces, tracing, keys, io_uring, bpf. `clone` is allowed for threads alone,
whose number the address-space limit bounds. A program may end with a status below 128 alone: bwrap passes a death by
signal on as 128 and its number, and only the system may seem to have killed a program.

Numbers: Linux 6, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import unknown_choice


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """audit: the kernel's name for it (AUDIT_ARCH_*). column: its column in SYSCALLS."""

    audit: int
    column: int


ARCHITECTURES = {
    "x86_64": Architecture(audit=0xC000003E, column=0),
    "aarch64": Architecture(audit=0xC00000B7, column=1),
}

ABSENT = -1

# Name: number on x86_64, number on aarch64. The calls that Python makes most stand first.
SYSCALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "futex": (202, 98),
    "newfstatat": (262, 79),
    "openat": (257, 56),
    "close": (3, 57),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "brk": (12, 214),
    "getdents64": (217, 61),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "clock_gettime": (228, 113),
    "open": (2, ABSENT),
    "stat": (4, ABSENT),
    "lstat": (6, ABSENT),
    "poll": (7, ABSENT),
    "mprotect": (10, 226),
    "ioctl": (16, 29),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, ABSENT),
    "pipe": (22, ABSENT),
    "select": (23, ABSENT),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "dup2": (33, ABSENT),
    "pause": (34, ABSENT),
    "nanosleep": (35, 101),
    "getitimer": (36, 102),
    "alarm": (37, ABSENT),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "getsockname": (51, 204),
    "socketpair": (53, 199),
    "getsockopt": (55, 209),
    "execve": (59, 221),
    "wait4": (61, 260),
    "uname": (63, 160),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "getdents": (78, ABSENT),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "rename": (82, ABSENT),
    "mkdir": (83, ABSENT),
    "rmdir": (84, ABSENT),
    "creat": (85, ABSENT),
    "link": (86, ABSENT),
    "unlink": (87, ABSENT),
    "symlink": (88, ABSENT),
    "readlink": (89, ABSENT),
    "chmod": (90, ABSENT),
    "fchmod": (91, 52),
    "umask": (95, 166),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "getpgrp": (111, ABSENT),
    "getgroups": (115, 158),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "sigaltstack": (131, 132),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "arch_prctl": (158, ABSENT),
    "setrlimit": (160, 164),
    "gettid": (186, 178),
    "time": (201, ABSENT),
    "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "epoll_wait": (232, ABSENT),
    "epoll_ctl": (233, 21),
    "tgkill": (234, 131),
    "mkdirat": (258, 34),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "linkat": (265, 37),
    "symlinkat": (266, 36),
    "readlinkat": (267, 78),
    "fchmodat": (268, 53),
    "faccessat": (269, 48),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "utimensat": (280, 88),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "dup3": (292, 24),
    "pipe2": (293, 59),
    "prlimit64": (302, 261),
    "getcpu": (309, 168),
    "renameat2": (316, 276),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "statx": (332, 291),
    "rseq": (334, 293),
    "close_range": (436, 436),
    "faccessat2": (439, 439),
}

CLONE = (56, 220)
EXITS = ((60, 93), (231, 94))
# The judge forks a child per program, receives the ends of its pipes, and waits for its end.
JUDGE_SYSCALLS: dict[str, tuple[int, int]] = {
    "clone": CLONE,
    "fork": (57, ABSENT),
    "setsid": (112, 157),
    "recvmsg": (47, 212),
    "pidfd_open": (434, 434),
}

CLONE_THREAD = 0x00010000
LIKE_A_SIGNAL = 0x80
X32_BIT = 0x40000000
ENOSYS, EPERM = 38, 1

LOAD_WORD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_OFFSET, ARCHITECTURE_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 4, 16
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def supported(machine: str) -> bool:
    """Whether there is a filter for the processor that `platform.machine()` names."""
    return machine in ARCHITECTURES


def filter_program(machine: str, *, judge: bool = False) -> bytes:
    """The filter as `struct sock_filter[]`, for a program under test or for the judge.

    Raises UserError for a machine other than x86_64 and aarch64.
    """
    if machine not in ARCHITECTURES:
        raise unknown_choice("processor", machine, ARCHITECTURES, fix="The sandbox's filter knows no other.")
    architecture = ARCHITECTURES[machine]
    table = SYSCALLS | (JUDGE_SYSCALLS if judge else {})
    numbers = [row[architecture.column] for row in table.values()]
    allowed = [number for number in numbers if number != ABSENT]
    head = [
        _step(LOAD_WORD, ARCHITECTURE_OFFSET),
        _step(JUMP_EQUAL, architecture.audit, on_true=1),
        _step(RETURN, KILL),
        _step(LOAD_WORD, NUMBER_OFFSET),
        _step(JUMP_GREATER_EQUAL, X32_BIT, on_false=1),
        _step(RETURN, KILL),
    ]
    by_argument = _by_bit(CLONE[architecture.column], CLONE_THREAD, on_set=ALLOW, on_clear=FAIL | EPERM)
    for row in EXITS:
        by_argument += _by_bit(row[architecture.column], LIKE_A_SIGNAL, on_set=FAIL | EPERM, on_clear=ALLOW)
    return b"".join([*head, *_allow(allowed), *by_argument, _step(RETURN, FAIL | ENOSYS)])


def _allow(numbers: Sequence[int]) -> list[bytes]:
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
