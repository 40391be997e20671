# Sends arrays of objects, of no such kind, of negative and giant shapes.
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
    for kind in ("object", "O", "V8", "|S99", "datetime64", ["float64"], None, 1, "float128"):
        send({"d": [["value", {"a": [kind, [1]]}]]}, bytes(8))
    for shape in ([-1], [-1, -8], [1 << 62, 4], [True], ["1"], "1", {}, [[1]], [1.0], None):
        send({"d": [["value", {"a": ["float64", shape]}]]}, bytes(8))
