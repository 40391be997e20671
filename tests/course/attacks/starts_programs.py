# Starts other programs in every way that Python knows.
# loses: pad
# walls: limits, files
import ctypes
import os
import subprocess
import sys


def pad(x, padding):
    shell = ["/bin/sh", "-c", "echo BREACH; touch /tmp/minires-attack-ran"]
    for start in (
        lambda: subprocess.run(shell, check=True),
        lambda: os.posix_spawn("/bin/sh", shell, {}),
        lambda: os.spawnv(os.P_WAIT, "/bin/sh", shell),
        lambda: os.popen(shell[2]).read(),
        lambda: os.system(shell[2]),
        lambda: ctypes.CDLL(None).system(shell[2].encode()),
        lambda: os.execv("/bin/sh", shell),
        lambda: os.execv(sys.executable, ["python", "-c", "print('BREACH')"]),
    ):
        try:
            start()
        except (OSError, subprocess.SubprocessError):
            pass
    return x
