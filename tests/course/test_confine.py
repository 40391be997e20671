"""The filter of system calls, run on a machine of our own; and the walls of a real process."""

from __future__ import annotations

import itertools
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.course.inside import calls, confine
from minires.course.inside.calls import ARCHITECTURES, DENIED, program

LINUX = sys.platform.startswith("linux")
SELF, OTHER = 4242, 4243
ALLOWED, NOT_PERMITTED, NO_TERMINAL, NO_SUCH_CALL, KILLED = "allow", 1, 25, 38, "kill"
MACHINES = sorted(ARCHITECTURES)


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> Any:
    """What the kernel's machine makes of a call: the few operations that the filter uses."""
    which = ARCHITECTURES[machine] if architecture is None else architecture
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, which, 0, *(n % 2**64 for n in padded))
    lines, at, held = program(machine, SELF), 0, 0
    while True:
        operation, so, otherwise, k = lines[at]
        at += 1
        if operation == 0x20:
            [held] = struct.unpack_from("<I", data, k)
        elif operation == 0x06:
            kinds = {0x7FFF0000: ALLOWED, 0x80000000: KILLED}
            return kinds[k] if k in kinds else {0x50000: k & 0xFFFF}[k & ~0xFFFF]
        else:
            holds = {0x15: held == k, 0x35: held >= k, 0x45: bool(held & k)}[operation]
            at += so if holds else otherwise


def number_of(machine: str, call: str) -> int:
    x86, arm = CALLS[call]
    return x86 if machine == "x86_64" else arm


# Numbers on (x86_64, aarch64), written down apart from the filter.
CALLS = {
    "read": (0, 63), "write": (1, 64), "openat": (257, 56), "close": (3, 57), "mmap": (9, 222),
    "futex": (202, 98), "exit_group": (231, 94), "rt_sigaction": (13, 134), "getpid": (39, 172),
    "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "ptrace": (101, 117), "prlimit64": (302, 261), "fcntl": (72, 25), "ioctl": (16, 29),
    "sched_setaffinity": (203, 122), "pidfd_open": (434, 434), "io_uring_setup": (425, 425),
    "process_vm_readv": (310, 270), "process_madvise": (440, 440), "shmget": (29, 194),
    "close_range": (436, 436), "faccessat2": (439, 439), "futex_waitv": (449, 449),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "utimensat": (280, 88), "unshare": (272, 97),
    "truncate": (76, 45), "ftruncate": (77, 46), "unlinkat": (263, 35), "renameat2": (316, 276),
    "memfd_create": (319, 279), "getrandom": (318, 278), "mkdirat": (258, 34), "lseek": (8, 62),
    "newfstatat": (262, 79), "getdents64": (217, 61), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "clock_nanosleep": (230, 115), "prctl": (157, 167), "statx": (332, 291),
}  # fmt: skip
PLAIN = ["read", "write", "close", "mmap", "futex", "exit_group", "rt_sigaction", "getpid"]
PLAIN += ["ftruncate", "unlinkat", "renameat2", "getrandom", "lseek", "newfstatat", "getdents64"]
PLAIN += ["mprotect", "munmap", "brk", "clock_nanosleep", "statx", "memfd_create"]
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC = 0, 1, 2, 0o100, 0o1000
TABLE: list[tuple[str, tuple[int, ...], Any]] = [
    *((name, (), ALLOWED) for name in PLAIN),
    *((name, (), ALLOWED) for name in ("close_range", "faccessat2", "futex_waitv")),
    ("clone", (17,), NOT_PERMITTED),  # a process
    ("clone", (0x3D0F00,), NOT_PERMITTED),  # a thread
    ("clone3", (), NO_SUCH_CALL),
    *((name, (), NOT_PERMITTED) for name in ("execve", "execveat", "socket", "kill", "tkill")),
    *((name, (), NOT_PERMITTED) for name in ("ptrace", "process_vm_readv", "shmget", "unshare")),
    *((name, (), NOT_PERMITTED) for name in ("fchmodat", "utimensat", "truncate", "mkdirat")),
    *((name, (), NO_SUCH_CALL) for name in ("pidfd_open", "io_uring_setup", "process_madvise")),
    ("fchmodat2", (), NO_SUCH_CALL),
    ("tgkill", (SELF, SELF, 9), ALLOWED),
    ("tgkill", (OTHER, OTHER, 0), NOT_PERMITTED),
    ("tgkill", (0, 0, 0), NOT_PERMITTED),
    ("prlimit64", (0, 7), ALLOWED),
    ("prlimit64", (SELF, 7), ALLOWED),
    ("prlimit64", (OTHER, 7), NOT_PERMITTED),
    ("prlimit64", ((1 << 32) + OTHER, 7), NOT_PERMITTED),  # the kernel sees the lower half too
    ("sched_setaffinity", (0,), ALLOWED),
    ("sched_setaffinity", (OTHER,), NOT_PERMITTED),
    *(("fcntl", (3, n), ALLOWED) for n in (0, 1, 2, 3, 4, 5, 6, 7, 1030)),
    *(("fcntl", (3, n), NOT_PERMITTED) for n in (8, 10, 15, 1024, 1026, 1031)),
    *(("ioctl", (3, n), ALLOWED) for n in (0x5401, 0x5413, 0x5450, 0x5451, 0x5421, 0x541B)),
    *(("ioctl", (3, n), NO_TERMINAL) for n in (0x5412, 0x541C, 0x8901, 0x8902, 0x40086602)),
    ("openat", (-100, 0, O_RDONLY), ALLOWED),
    ("openat", (-100, 0, O_RDWR), ALLOWED),
    ("openat", (-100, 0, O_WRONLY | O_CREAT | O_TRUNC), ALLOWED),
    ("openat", (-100, 0, O_RDONLY | O_TRUNC), NOT_PERMITTED),
    ("openat", (-100, 0, O_RDONLY | O_CREAT | O_TRUNC), NOT_PERMITTED),
]


@pytest.mark.parametrize("machine", MACHINES)
def test_each_call_gets_what_the_table_says(machine: str) -> None:
    for call, arguments, wanted in TABLE:
        found = verdict(machine, number_of(machine, call), *arguments)
        assert found == wanted, (call, arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    i386, arm, other = (
        0x40000003,
        0x40000028,
        set(ARCHITECTURES.values()) - {ARCHITECTURES[machine]},
    )
    for architecture in (i386, arm, *other):
        assert verdict(machine, 0, architecture=architecture) == KILLED


def test_the_x32_calls_of_x86_do_not_exist() -> None:
    for number in (0, 56, 57, 59, 101, 520, 545):
        assert verdict("x86_64", number | 1 << 30) == NO_SUCH_CALL


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_are_younger_than_the_list_do_not_exist(machine: str) -> None:
    known = set(calls.YOUNG.values())
    for number in range(424, 600):
        assert verdict(machine, number) == (ALLOWED if number in known else NO_SUCH_CALL)


@given(
    st.sampled_from(MACHINES),
    st.integers(0, 2**32 - 1) | st.integers(0, 500),
    st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 2**13), min_size=6, max_size=6),
)
def test_the_program_ends_on_every_call(machine: str, number: int, arguments: list[int]) -> None:
    assert verdict(machine, number, *arguments) in (
        ALLOWED,
        NOT_PERMITTED,
        NO_TERMINAL,
        NO_SUCH_CALL,
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_can_hold_the_program(machine: str) -> None:
    lines = program(machine, SELF)
    assert len(lines) <= 4096
    for i, (_, so, otherwise, k) in enumerate(lines):
        assert 0 <= so <= 255
        assert 0 <= otherwise <= 255
        assert i + 1 + max(so, otherwise) < len(lines) or lines[i][0] == 0x06
        assert 0 <= k < 2**32


def test_no_number_is_denied_twice() -> None:
    for which in (0, 1):
        numbers = [pair[which] for pair in DENIED.values() if pair[which] >= 0]
        assert len(numbers) == len(set(numbers))


HEADERS = [
    ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0),
    ("/usr/include/asm-generic/unistd.h", 1),
]


@pytest.mark.parametrize(("header", "which"), HEADERS)
def test_the_numbers_are_those_of_the_headers(header: str, which: int) -> None:
    if not os.path.exists(header):
        pytest.skip("the headers of Linux are not installed here")
    text = Path(header).read_text()
    numbers = dict(re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", text, re.MULTILINE))
    for name, pair in itertools.chain(DENIED.items(), calls._WATCHED.items(), CALLS.items()):
        header_name = {"prlimit": "prlimit64", "newfstatat": "fstatat" if which else name}
        wanted = numbers.get(header_name.get(name, name))
        if wanted is not None:
            assert pair[which] == int(wanted), name
        elif name != "fchmodat2":  # younger than most headers
            assert pair[which] == -1, name


# --- real processes ---

PROBE = """
import json, os, sys, threading
sys.path.append({site!r})
from inside import calls, confine
limits = {{"seconds": 5, "memory": 1 << 30, "file": 1 << 20}}
{before}
try:
    walls = confine.confine(limits, {readable!r}, {folder!r}, {user!r}, {needed!r})
except confine.Unable as error:
    print(json.dumps({{"unable": str(error)}}))
    sys.exit()
found = {{"walls": walls, "uid": os.getuid()}}
def tried(name, attempt):
    try:
        attempt()
        found[name] = "done"
    except (OSError, RuntimeError) as error:
        found[name] = type(error).__name__
tried("fork", lambda: os.fork() or os._exit(0))
tried("thread", threading.Thread(target=int).start)
tried("write", lambda: open({folder!r} + "/file", "w").close())
tried("elsewhere", lambda: open({outside!r} + "/file", "w").close())
tried("read", lambda: open({outside!r} + "/secret").read())
tried("locked", lambda: open({outside!r} + "/locked").close())
tried("null", lambda: open(os.devnull, "w").close())
tried("kill", lambda: os.kill(os.getppid(), 0))
tried("chmod", lambda: os.chmod({folder!r}, 0o700))
tried("folder", lambda: os.mkdir({folder!r} + "/folder"))
print(json.dumps(found))
"""
NO_FILES = "confine._CREATE_RULESET = 9999"
NO_CALLS = "calls._SET_SECCOMP = 9999"
NO_LIMITS = "sys.modules['resource'] = None"
ROOT = LINUX and os.geteuid() == 0
USER = 0x7000_0001 if ROOT else None


def probe(place: Path, before: str = "", user: int | None = USER, needed: str = "") -> Any:
    """What a process can do that has shut itself in, some walls knocked out before."""
    from minires.course.places import python_files

    folder, outside = place / "folder", place / "outside"
    for path in (place, folder, outside):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    for name, mode in (("secret", 0o644), ("locked", 0)):  # that opens for root's powers alone
        (outside / name).write_text("secret")
        (outside / name).chmod(mode)
    if ROOT:
        os.chown(outside / "locked", 1, 1)
    if user is not None:
        os.chown(folder, user, user)
    site = str(Path(confine.__file__).parents[1])
    code = PROBE.format(
        site=site,
        before=before,
        readable=[site, *python_files()],
        folder=str(folder),
        outside=str(outside),
        user=user,
        needed=[needed] if needed else [],
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


needs_linux = pytest.mark.skipif(not LINUX, reason="Landlock and seccomp are Linux's")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that every user can reach; pytest's are for one alone."""
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(path.stat().st_mode | 0o011)
    return tmp_path / "place"


@needs_linux
def test_behind_all_walls_nothing_is_left_but_a_folder(place: Path) -> None:
    found = probe(place)
    missing = {"limits", "files", "calls"} - set(found["walls"])
    if missing:
        pytest.skip(f"this system has no {', '.join(sorted(missing))}")
    assert ("user" in found["walls"]) == ROOT
    assert found["uid"] == (USER or os.getuid())
    assert (found["write"], found["null"]) == ("done", "done")
    for attempt in ("fork", "thread", "elsewhere", "read", "kill", "chmod", "folder"):
        assert found[attempt] != "done", attempt


@needs_linux
def test_without_landlock_there_are_still_no_processes_and_no_signals(place: Path) -> None:
    found = probe(place, NO_FILES)
    assert "files" not in found["walls"]
    for attempt in ("fork", "thread", "kill", "chmod", "folder"):
        assert found[attempt] != "done", attempt
    assert found["read"] == "done", "the wall that would have stopped this is not there"
    assert (found["elsewhere"] == "done") != ROOT, "as root it is another user, who may not write"


@needs_linux
def test_without_seccomp_there_are_still_no_processes_and_no_files(place: Path) -> None:
    found = probe(place, NO_CALLS)
    assert "calls" not in found["walls"]
    for attempt in ("fork", "thread", "elsewhere", "read", "folder"):
        assert found[attempt] != "done", attempt
    assert found["chmod"] == "done", "the wall that would have stopped this is not there"


@needs_linux
def test_without_both_there_are_still_no_processes(place: Path) -> None:
    found = probe(place, f"{NO_FILES}; {NO_CALLS}")
    assert set(found["walls"]) <= {"limits", "user"}
    assert found["fork"] != "done"
    assert found["thread"] != "done"
    if ROOT:
        assert found["kill"] != "done"


@needs_linux
def test_without_resource_the_limits_are_not_said_to_stand(place: Path) -> None:
    found = probe(place, NO_LIMITS)
    assert "limits" not in found["walls"]
    assert found["fork"] != "done", "seccomp refuses it too"


@pytest.mark.skipif(not ROOT, reason="only root becomes another user")
def test_root_that_cannot_become_another_user_has_no_powers_left(place: Path) -> None:
    found = probe(place, f"{NO_FILES}; {NO_CALLS}", user=None)
    assert "user" not in found["walls"]
    assert (found["uid"], found["elsewhere"]) == (0, "done")
    assert found["locked"] == "PermissionError"


@pytest.mark.skipif(not ROOT, reason="only root becomes another user")
def test_python_that_only_root_can_read_is_an_error_without_landlock(place: Path) -> None:
    place.mkdir()
    hidden = place / "python"
    hidden.write_text("")
    hidden.chmod(0o600)
    assert "unable" not in probe(place, needed=str(hidden)), "Landlock decides what is read"
    found = probe(place, NO_FILES, needed=str(hidden))
    assert str(hidden) in found["unable"]
    assert "install Python where every user can read it" in found["unable"]
