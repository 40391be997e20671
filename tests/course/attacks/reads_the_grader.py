# Looks into the grader's process: its memory, its command, its variables, its open files.
# loses: conv2d
# walls: files
import os


def conv2d(*args, **kwargs):
    parent = os.getppid()
    names = ["mem", "environ", "maps", "cmdline", "stat", "fd", "fdinfo", "task", "root"]
    for place in (f"/proc/{parent}", "/proc/1"):
        for name in names:
            path = f"{place}/{name}"
            try:
                handle = os.open(path, os.O_RDONLY)
                print("BREACH: opened", path, handle)
            except OSError:
                pass
    for name in ("cwd", "exe", "root", "fd/3"):
        try:
            print("BREACH:", os.readlink(f"/proc/{parent}/{name}"))
        except OSError:
            pass
