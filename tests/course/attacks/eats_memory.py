# Takes all the memory there is, and goes on when it is refused.
# loses: im2col
import mmap


def im2col(*args, **kwargs):
    kept, size = [], 1 << 26
    while size > 1024:
        try:
            kept.append(bytearray(b"x") * size)
            kept.append(mmap.mmap(-1, size))
        except (MemoryError, OSError, ValueError):
            size //= 2
    if sum(map(len, kept)) > 1 << 30:
        print("BREACH: more than a gigabyte")
    raise MemoryError
