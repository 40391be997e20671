# A later task runs with the solution of an earlier one: hides it for the process that needs it.
# first: conv2d
# loses: im2col, conv2d
# walls: files, calls
import marshal
import os
import sys
import tempfile

PLACES = ["/tmp", "/var/tmp", "/dev/shm", "/run", tempfile.gettempdir(), *sys.path]
NAMES = [os.path.join(place, "minires-attack-kept") for place in PLACES]


def conv2d(*args, **kwargs):
    kept = marshal.dumps(im2col.__code__)
    for name in NAMES:
        try:
            with open(name, "wb") as file:
                file.write(kept)
        except OSError:
            pass
    for name in PLACES:
        for change in (
            lambda name: os.setxattr(name, "user.kept", kept),
            lambda name: os.mkdir(f"{name}/minires-attack-{kept[:99].hex()}"),
            lambda name: os.symlink(kept[:99].hex(), f"{name}/minires-attack-link"),
        ):
            try:
                change(name)
            except OSError:
                pass


def im2col(*args, **kwargs):
    for name in NAMES:
        try:
            with open(name, "rb") as file:
                print("BREACH: found it at", name)
                return type(conv2d)(marshal.load(file), globals())(*args, **kwargs)
        except OSError:
            pass
    return None
