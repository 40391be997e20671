# Makes processes by calls of the system that no library has a name for.
# loses: pad
# walls: calls
import ctypes
import os
import platform


def pad(x, padding):
    libc = ctypes.CDLL(None, use_errno=True)
    itself = os.getpid()
    clone = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 56)
    size = ctypes.c_size_t(88)
    for number, first in (
        *([(57, 0), (58, 0)] if clone == 56 else []),  # fork, vfork
        *([(n | 1 << 30, 17) for n in (56, 57, 58, 520)] if clone == 56 else []),  # those of x32
        (clone, 17),
        (435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)),  # clone3
    ):
        made = libc.syscall(number, first, size, 0, 0, 0)
        if made >= 0:
            if os.getpid() != itself:
                os._exit(0)
            print("BREACH: made a process by", number, flush=True)
    return x
