"""How the process shuts itself in before the student's code begins.

Four walls, each left out where the system lacks it, and only the second for root, who alone needs
it and can have it; :func:`confine` returns those that stand:

    limits      setrlimit: processor time, memory, size of a file, no new processes, no core dumps
    user        root becomes a user that owns nothing (and may then not signal other processes)
    files       Landlock (Linux 5.13): only Python, NumPy and the given folder can be opened
    calls       seccomp: see :mod:`calls <minires.course.inside.calls>`

The last two hold for everything that runs in the process from then on, C code as well, and cannot
be undone.  Sources: the manual pages landlock(7), seccomp(2), setrlimit(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from .calls import filter_calls

__all__ = ["Unable", "confine"]

_SET_PDEATHSIG, _SET_KEEPCAPS, _SET_NO_NEW_PRIVS = 1, 8, 38  # operations of prctl
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls of Landlock, everywhere
_SIGKILL = 9


class Unable(Exception):
    """The code cannot be shut in and still run; what to do about it."""


def confine(
    limits: dict[str, int],
    readable: Sequence[str],
    folder: str,
    user: int | None,
    needed: Sequence[str] = (),
) -> list[str]:
    """Shut this process in for good; the names of the walls that stand.

    Args:
        limits: 'seconds' of processor time, bytes of 'memory', of a 'file'.
        readable: files and folders that may be read.
        folder: where files may be written.
        user: number of the user that root becomes, to whom the folder belongs.
        needed: files without which nothing would run.

    Raises Unable where the user could not read what is needed.
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, this process goes, and not the grader
    stand = ["limits"] if _limit(limits) else []
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
    rules = _ruleset(libc, readable, folder) if libc else None
    if user is not None:
        _become(libc, user, needed, reads_all=rules is not None)
        stand.append("user")
    elif libc is not None:
        _set_powers(libc, 0)
    if libc is None:
        return stand
    libc.prctl(_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # a grader that is killed leaves nothing running
    libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    quiet = 1 if rules is not None and _version(libc) >= 7 else 0  # no line in the system's log
    if rules is not None and libc.syscall(_RESTRICT_SELF, rules, quiet) == 0:
        stand.append("files")
    if filter_calls(libc):
        stand.append("calls")
    return stand


# --- limits ---


def _limit(limits: dict[str, int]) -> bool:
    try:
        import resource
    except ImportError:  # Windows
        return False
    wanted = {
        "RLIMIT_CPU": limits["seconds"],
        "RLIMIT_AS": limits["memory"],
        "RLIMIT_FSIZE": limits["file"],
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_NPROC": 0,  # more processes and threads than the user has already; root may go on
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, value in wanted.items():  # the same value twice: nothing to catch, nothing to raise
        with suppress(ValueError, OSError, AttributeError):
            which = getattr(resource, name)
            most = resource.getrlimit(which)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(which, (value, value))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    return 0 <= hard <= limits["seconds"]


# --- another user ---

_READ_ALL = 1 << 2  # CAP_DAC_READ_SEARCH: opens what permissions forbid; Landlock still decides


def _become(libc: Any, user: int, needed: Iterable[str], reads_all: bool) -> None:
    """Become this user, without any of root's powers.

    Python itself may lie in a folder that only root may enter.  So where Landlock says what can be
    read, the process may go on reading past permissions.
    """
    if libc is not None:
        libc.prctl(_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(user)
    os.seteuid(user)
    hidden = [path for path in needed if not _opens(path)]
    os.seteuid(0)
    if hidden and not (libc is not None and reads_all):
        raise Unable(
            f"only root can read {hidden[0]}, and the code of a submission never runs as root; "
            "install Python where every user can read it, or grade as an ordinary user"
        )
    os.setuid(user)
    if libc is not None:
        _set_powers(libc, _READ_ALL if hidden else 0)


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def _set_powers(libc: Any, kept: int) -> None:
    header = struct.pack("<II", 0x20080522, 0)  # version 3, this process
    sets = struct.pack("<6I", kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable
    libc.capset(header, sets)


# --- files ---

# How many rights each version of Landlock knows; all that are known and not granted are refused.
_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_READ = 0b1100  # read a file, list a folder
# In the folder: also write, remove and make files, empty them.  No folders, links or pipes in it.
_WRITE = _READ | 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14
_FILE = 0b0110 | 1 << 14  # what can be granted on a file alone: write, read, empty
_NETWORK = 0b11  # version 4: no connections over TCP
_SCOPES = 0b11  # version 6: no abstract sockets, no signals to processes outside


def _version(libc: Any) -> int:
    return int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def _ruleset(libc: Any, readable: Iterable[str], folder: str) -> int | None:
    """A set of rules that is ready to be applied, or None where there is no Landlock."""
    version = _version(libc)
    if version < 1:
        return None
    handled = (1 << max(bits for since, bits in _RIGHTS.items() if since <= version)) - 1
    fields = struct.pack("<QQQ", handled, _NETWORK, _SCOPES)
    length = 8 if version < 4 else 16 if version < 6 else 24
    rules = int(libc.syscall(_CREATE_RULESET, fields, ctypes.c_size_t(length), 0))
    if rules < 0:
        return None
    granted = [(path, _READ) for path in readable]
    for path, rights in [*granted, (folder, _WRITE), (os.devnull, _WRITE)]:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights &= handled & (-1 if os.path.isdir(path) else _FILE)
        libc.syscall(_ADD_RULE, rules, 1, struct.pack("<Qi", rights, handle), 0)
        os.close(handle)
    return rules
