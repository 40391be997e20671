# Announces a thousand bytes, sends ten, and waits.
# loses: conv2d
# wall: 2
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
    import time

    send(b"0123456789", lengths=(1000, 0))
    time.sleep(60)
