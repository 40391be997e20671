# Sends answers before it is asked, for all cases, and then falls silent.
# loses: conv2d
import json
import os
import struct


def send(header, data=b"", lengths=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    message = struct.pack("<II", *(lengths or (len(text), len(data)))) + text + data
    for handle in range(3, 64):
        try:
            os.write(handle, message)
        except OSError:
            pass


def conv2d(*args, **kwargs):
    for _ in range(100):
        send({"d": [["value", {"a": ["float64", [1, 1, 1, 1]]}]]}, bytes(8))
    os._exit(0)
