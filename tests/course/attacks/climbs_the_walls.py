# Tries to take the walls down: limits, user, powers, filters.
# loses: pad
# walls: limits
import ctypes
import os
import resource


def pad(x, padding):
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("CPU", "AS", "FSIZE", "NOFILE", "NPROC"):
        kind = getattr(resource, f"RLIMIT_{name}")
        soft, hard = resource.getrlimit(kind)
        for wanted in ((hard + 1, hard + 1), (-1, -1), (soft, hard + 1)):
            try:
                resource.setrlimit(kind, wanted)
                print("BREACH: lifted", name)
            except (ValueError, OSError):
                pass
    for attempt in (
        lambda: os.setuid(0),
        lambda: os.seteuid(0),
        lambda: os.setresuid(0, 0, 0),
        lambda: os.setgid(0),
        lambda: os.setgroups([0]),
        lambda: os.chroot("/"),
        lambda: os.nice(-5),
    ):
        try:
            attempt()
            print("BREACH: powers, line", attempt.__code__.co_firstlineno)
        except OSError:
            pass
    if libc.capset(b"\x22\x05\x08\x20" + bytes(4), b"\xff" * 24) == 0:
        print("BREACH: capabilities")
    libc.prctl(38, 0, 0, 0, 0)  # new privileges
    if libc.prctl(39, 0, 0, 0, 0) != 1:
        print("BREACH: privileges may grow")
    if libc.prctl(22, 0, None, 0, 0) == 0:
        print("BREACH: the filter is off")
    return x
