# Forks twice and leaves its session, so that nobody's child stays behind.
# loses: pad
# walls: limits
import os
import time


def pad(x, padding):
    for make in (os.fork, os.forkpty):
        try:
            child = make()
        except OSError:
            continue
        child = child[0] if isinstance(child, tuple) else child
        if child == 0:
            print("BREACH: forked", flush=True)
            os.setsid()
            time.sleep(0.3)
            os._exit(0)
    return x
