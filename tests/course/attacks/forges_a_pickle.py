# Sends a pickle that runs a command when it is read.
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


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/minires-attack-pickled",))


def conv2d(*args, **kwargs):
    import pickle

    bomb = pickle.dumps(Bomb())
    send(bomb)
    send({"d": [["value", {"b": len(bomb)}]]}, bomb)
    send({"d": [["value", {"a": ["object", [1]]}]]}, bomb)
    return Bomb()
