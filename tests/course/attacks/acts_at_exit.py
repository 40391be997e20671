# Leaves the work to handlers that run at the end of the process: they forge an answer and stay.
# loses: pad
import atexit
import os
import time


@atexit.register
def forge():
    print("BREACH: an exit handler ran")
    for handle in range(3, 64):
        try:
            os.write(handle, b"\x12\x00\x00\x00\x00\x00\x00\x00" + b'{"d":[["value",1]]}')
        except OSError:
            pass
    time.sleep(60)


def pad(x, padding):
    return x
