# Leaves threads behind that loop and print when the answer has been given.
# loses: pad
import threading


def work():
    while True:
        print("still here")


def pad(x, padding):
    for daemon in (True, False):
        for _ in range(20):
            try:
                threading.Thread(target=work, daemon=daemon).start()
            except RuntimeError:
                pass
    return x
