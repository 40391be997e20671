# Leaves folders thousands deep, without permissions, and links that point out.
# loses: pad
import os


def pad(x, padding):
    top = os.getcwd()
    for name in ("closed", "deep"):
        try:
            os.mkdir(name)
        except OSError:
            pass
    for path, mode in (("closed", 0), (".", 0)):
        try:
            os.symlink("/", "out")
            os.symlink("loop", "loop")
            os.mkfifo("pipe")
            os.mknod("device")
            os.link("/etc/passwd", "passwd")
        except OSError:
            pass
        try:
            os.chdir("deep")
            for _ in range(3000):
                os.mkdir("d")
                os.chdir("d")
        except OSError:
            pass
        os.chdir(top)
        try:
            os.chmod(path, mode)
        except OSError:
            pass
    return x
