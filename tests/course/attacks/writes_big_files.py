# Writes files without end, by every way that makes them long.
# loses: pad
import os


def pad(x, padding):
    for n in range(50):
        handle = os.open(f"big-{n}", os.O_RDWR | os.O_CREAT)
        for way in (
            lambda handle: os.ftruncate(handle, 1 << 40),
            lambda handle: os.posix_fallocate(handle, 0, 1 << 30),
            lambda handle: os.pwrite(handle, b"x", 1 << 35),
            lambda handle: os.write(handle, bytes(1 << 30)),
        ):
            try:
                way(handle)
            except (OSError, MemoryError):
                pass
        if os.fstat(handle).st_size > 1 << 20:
            print("BREACH: a file of", os.fstat(handle).st_size)
        os.close(handle)
    return x
