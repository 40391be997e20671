"""The system calls that are refused: new processes, network, and what reaches other processes.

Linux runs a small program before every system call of a process that has asked for it (seccomp).
Ours refuses three kinds: calls that nobody needs here (``DENIED``), calls younger than this list
(from number 424 on, where both architectures count alike), and some whose arguments decide.  What
only root may do needs no line, for this process has none of root's powers.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Any

__all__ = ["ARCHITECTURES", "DENIED", "filter_calls", "program"]

Line = tuple[int, int, int, int]

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Numbers on (x86_64, aarch64); -1: there is no such call.
DENIED = {
    # new processes, threads and programs
    "fork": (57, -1), "vfork": (58, -1), "clone": (56, 220), "execve": (59, 221),
    "execveat": (322, 281),
    # network
    "socket": (41, 198), "socketpair": (53, 199),
    # objects that outlive a process, or belong to others, and are reached without a file
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219),
    # signals to others, a look into others, their priorities
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    # owners, modes, times and lengths of files, which Landlock leaves to everybody
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, -1),
    "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, -1),
    "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "truncate": (76, 45),
    # folders in folders (hard to remove), links, devices; who opens which file
    "mkdir": (83, -1), "mkdirat": (258, 34), "mknod": (133, -1), "mknodat": (259, 33),
    "link": (86, -1), "linkat": (265, 37), "symlink": (88, -1), "symlinkat": (266, 36),
    "inotify_init": (253, -1), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265),
    # the system itself: large, seldom used, a common way to break out
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "personality": (135, 92), "modify_ldt": (154, -1),
    "io_setup": (206, 0), "vmsplice": (278, 75), "syslog": (103, 116), "sync": (162, 81),
    "syncfs": (306, 267),
}  # fmt: skip

FIRST_YOUNG = 424
YOUNG = {"close_range": 436, "faccessat2": 439, "epoll_pwait2": 441, "futex_waitv": 449}

# Those whose arguments decide.
_WATCHED = {
    "tgkill": (234, 131), "prlimit": (302, 261), "sched_setaffinity": (203, 122),
    "fcntl": (72, 25), "ioctl": (16, 29), "open": (2, -1), "openat": (257, 56),
}  # fmt: skip
# fcntl: copies and flags of a handle, locks.  Not F_SETOWN, which has signals sent to a process.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030)
# ioctl: is it a terminal, its size, close on exec, bytes waiting, non-blocking
_IOCTL = (0x5401, 0x5413, 0x5450, 0x5451, 0x541B, 0x5421)
_O_WRITES, _O_TRUNC = 0x3, 0x200

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOTTY, _ENOSYS = 1, 25, 38
_SET_SECCOMP = 22  # an operation of prctl


def filter_calls(libc: Any) -> bool:
    """Have the system refuse the calls from now on, and for good; whether it does."""
    machine = platform.machine()
    if machine not in ARCHITECTURES or sys.byteorder != "little":
        return False
    code = b"".join(struct.pack("<HBBI", *line) for line in program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    lines = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(_SET_SECCOMP, 2, lines, 0, 0) == 0)


def program(machine: str, itself: int) -> list[Line]:
    """The filter, as a program for the kernel's small machine: (operation, if so, if not, number).

    Jumps count the lines to skip.  A call has its number at byte 0, the architecture at 4, and its
    arguments, of eight bytes each, from 16 on; ``itself`` is the number of this process.
    """
    which = ("x86_64", "aarch64").index(machine)
    refused = (_RETURN, 0, 0, _ERRNO | _EPERM)
    allowed = (_RETURN, 0, 0, _ALLOW)
    lines: list[Line] = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),  # 32-bit calls have other numbers
        (_LOAD, 0, 0, 0),
    ]
    for numbers in DENIED.values():
        if numbers[which] >= 0:
            lines += [(_JUMP_EQUAL, 0, 1, numbers[which]), refused]
    # "No such call": so the C library falls back on older ones.  (x32's begin at 2^30.)
    young = [*_unless_equal(YOUNG.values()), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    lines += [(_JUMP_AT_LEAST, 0, len(young), FIRST_YOUNG), *young]

    def when(call: str, argument: int, then: list[Line]) -> list[Line]:
        """Lines for one call, with the lower half of one of its arguments loaded."""
        number = _WATCHED[call][which]
        inside = [(_LOAD, 0, 0, 16 + 8 * argument), *then, allowed]
        return [(_JUMP_EQUAL, 0, len(inside), number), *inside] if number >= 0 else []

    lines += when("tgkill", 0, [*_unless_equal([itself]), refused])
    for call in ("prlimit", "sched_setaffinity"):  # 0 is this process
        lines += when(call, 0, [*_unless_equal([0, itself]), refused])
    lines += when("fcntl", 1, [*_unless_equal(_FCNTL), refused])
    lines += when("ioctl", 1, [*_unless_equal(_IOCTL), (_RETURN, 0, 0, _ERRNO | _ENOTTY)])
    # Old versions of Landlock let a file that may be read be emptied while it is opened.
    emptied: list[Line] = [(_JUMP_ANY_BIT, 0, 2, _O_TRUNC), (_JUMP_ANY_BIT, 1, 0, _O_WRITES)]
    lines += when("open", 1, [*emptied, refused]) + when("openat", 2, [*emptied, refused])
    return [*lines, allowed]


def _unless_equal(numbers: Any) -> list[Line]:
    """Skip the line that follows these if what is loaded is one of the numbers."""
    count = len(numbers)
    return [(_JUMP_EQUAL, count - i, 0, number) for i, number in enumerate(numbers)]
