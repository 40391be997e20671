# Leaves shared memory, semaphores and queues, which live on without a process.
# loses: pad
# walls: files, calls
import ctypes
import os
from multiprocessing import shared_memory


def pad(x, padding):
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        shared_memory.SharedMemory("minires-attack-memory", create=True, size=1 << 16)
        print("BREACH: shared memory")
    except OSError:
        pass
    key, make = 0x6D696E69, 0o1666
    for made in (
        libc.shmget(key, 1 << 16, make),
        libc.semget(key, 5, make),
        libc.msgget(key, make),
        libc.mq_open(b"/minires-attack-queue", os.O_CREAT | os.O_RDWR, 0o600, None),
        libc.shmget(key, 1 << 16, 0),
    ):
        if made >= 0:
            print("BREACH: an object", made)
    if libc.sem_open(b"/minires-attack-semaphore", os.O_CREAT, 0o600, 1):
        print("BREACH: a semaphore")
    return x
