# Uses the parts of the kernel that break-outs are made of.
# loses: pad
# walls: calls
import ctypes
import platform


def pad(x, padding):
    libc = ctypes.CDLL(None, use_errno=True)
    arm = platform.machine() == "aarch64"
    parameters = ctypes.create_string_buffer(256)
    for name, number, *arguments in (
        ("io_uring_setup", 425, 4, parameters),
        ("userfaultfd", 282 if arm else 323, 1),
        ("bpf", 280 if arm else 321, 0, parameters, 72),
        ("perf_event_open", 241 if arm else 298, parameters, 0, -1, -1, 0),
        ("unshare user", 97 if arm else 272, 0x10000000),
        ("setns", 268 if arm else 308, 0, 0),
        ("memfd_secret", 447, 0),
        ("fsopen", 430, b"tmpfs", 0),
        ("open_tree", 428, -100, b"/", 1),
        ("add_key", 217 if arm else 248, b"user", b"minires-attack", b"x", 1, -3),
        ("keyctl", 219 if arm else 250, 0, -3, 0),
        ("syslog", 116 if arm else 103, 10, 0, 0),
        ("fanotify_init", 262 if arm else 300, 0x200, 0),
        ("inotify_init1", 26 if arm else 294, 0),
        ("openat2", 437, -100, b".", (ctypes.c_uint64 * 3)(), 24),
        ("a call that does not exist yet", 1000),
    ):
        if libc.syscall(number, *arguments) >= 0:
            print("BREACH:", name)
    return x
