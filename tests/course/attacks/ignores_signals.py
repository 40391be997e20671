# Ignores every signal that can be ignored, and loops.
# loses: conv2d
import signal


def conv2d(*args, **kwargs):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
    while True:
        pass
