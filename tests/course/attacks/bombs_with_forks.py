# A fork bomb.
# loses: pad
# walls: limits
import os


def pad(x, padding):
    while True:
        try:
            if os.fork() == 0:
                os._exit(0)
            print("BREACH: forked")
            break
        except OSError:
            pass  # and again, until the time is over
