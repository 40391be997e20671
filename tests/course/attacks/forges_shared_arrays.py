# Names the same megabyte of an array ten thousand times.
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
    data = bytes(1 << 19)
    array = {"a": ["float64", [1 << 16], 0]}
    send({"d": [["value", {"l": [array] * 10_000}]]}, data)
    send({"d": [["value", {"l": [{"a": ["float64", [1 << 16]]}] * 10_000}]]}, data)
