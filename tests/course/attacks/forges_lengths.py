# Announces four gigabytes, and sends nothing.
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
    send(b"", lengths=(0xFFFFFFFF, 0xFFFFFFFF))
    send(b"", lengths=(10, 0xFFFFFFF0))
