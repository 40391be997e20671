# Sends signals to the grader, to its group and to all, and has the system send them.
# loses: pad
# walls: calls
import ctypes
import fcntl
import os
import platform
import resource
import signal


def pad(x, padding):
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    read, _ = os.pipe()
    tgkill = {"x86_64": 234, "aarch64": 131}.get(platform.machine(), 234)

    def call(*numbers):
        if libc.syscall(*numbers) < 0:
            raise OSError

    for attempt in (  # the signal 0 only asks whether another could be sent
        lambda: os.kill(parent, 0),
        lambda: os.kill(-1, 0),
        lambda: os.kill(1, 0),
        lambda: os.killpg(os.getpgid(parent), 0),
        lambda: call(tgkill, parent, parent, 0),
        lambda: os.pidfd_open(parent),
        lambda: signal.pidfd_send_signal(0, 0),
        lambda: fcntl.fcntl(read, fcntl.F_SETOWN, parent),
        lambda: fcntl.fcntl(read, 15, bytes(8)),  # F_SETOWN_EX
        lambda: fcntl.fcntl(read, 10, signal.SIGKILL),  # F_SETSIG
        lambda: fcntl.ioctl(read, 0x8901, parent.to_bytes(4, "little")),  # FIOSETOWN
        lambda: fcntl.ioctl(0, 0x5412, b"x"),  # TIOCSTI
        lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (3, 3)),
        lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
        lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
        lambda: os.sched_setaffinity(parent, {0}),
        lambda: os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0)),
    ):
        try:
            attempt()
            print("BREACH: an attempt succeeded, line", attempt.__code__.co_firstlineno)
        except OSError:
            pass
    return x
