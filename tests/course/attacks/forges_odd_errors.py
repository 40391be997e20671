# Sends errors whose parts are arrays, numbers without end, and codes of a terminal.
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
    good = {"type": "E", "message": "\x1b[2J\u202e\ud800", "place": "", "number": 1, "line": ""}
    bad = [1e999, 10**400, None, {"l": []}, {"a": ["float64", [0]]}, "x" * 100_000, -1]
    for value in bad[len(args) % 7 :]:
        for key in good:
            pairs = [[k, value if k == key else v] for k, v in good.items()]
            send({"d": [["error", {"d": pairs}]]})
    send({"d": [["error", {"d": [[k, v] for k, v in good.items()]}]]})
