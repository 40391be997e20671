# Changes modes, times, names and contents of files that it may not even read.
# loses: pad
# walls: files, calls
import os
import sys


def pad(x, padding):
    file = f"/tmp/minires-attack-{os.getppid()}/answers.txt"
    for path in (file, os.path.dirname(file), sys.modules["inside"].__file__, os.__file__, "."):
        for change in (
            lambda path: os.chmod(path, 0o700),
            lambda path: os.chown(path, -1, os.getgid()),
            lambda path: os.utime(path),
            lambda path: os.truncate(path, 0),
            lambda path: os.open(path, os.O_RDONLY | os.O_TRUNC),
            lambda path: os.open(path, os.O_WRONLY | os.O_APPEND),
            lambda path: os.setxattr(path, "user.attack", b"x"),
            lambda path: os.link(path, "linked"),
            lambda path: os.rename(path, path + "-minires-attack"),
            lambda path: os.replace(__name__, path),
            lambda path: os.unlink(path),
            lambda path: os.rmdir(path),
        ):
            try:
                change(path)
                print("BREACH: changed", path)
            except OSError:
                pass
    return x
