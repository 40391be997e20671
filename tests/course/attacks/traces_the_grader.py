# Attaches to the grader as a debugger does, and reads its memory.
# loses: pad
# walls: calls
import ctypes
import os
import platform


def pad(x, padding):
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    buffer = ctypes.create_string_buffer(64)
    piece = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 64)
    numbers = {"x86_64": (101, 310, 312), "aarch64": (117, 270, 272)}
    ptrace, readv, kcmp = numbers.get(platform.machine(), numbers["x86_64"])
    for call in (
        (ptrace, 0, 0, 0, 0),  # to be traced
        (ptrace, 0x4206, parent, 0, 0),  # to seize
        (readv, parent, piece, 1, piece, 1, 0),
        (readv, os.getpid(), piece, 1, piece, 1, 0),
        (kcmp, os.getpid(), parent, 0, 0, 0),
    ):
        if libc.syscall(*call) >= 0:
            print("BREACH:", call[0])
    return x
