# Sends arrays, lists and numbers where an object with a value belongs.
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
    send({"a": ["float64", [2]]}, bytes(16))
    for tree in ({"l": []}, {"d": []}, {"d": 7}, {"x": 1}, 1, "value", None, [], {}):
        send(tree)
