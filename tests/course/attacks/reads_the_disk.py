# Looks for the solution, the hidden cases and the secret on the disk.
# loses: im2col
# walls: files
import os
import sys


def im2col(*args, **kwargs):
    places = {"/", "/tmp", "/home", "/root", "/etc", "/proc", "/sys", "/var/tmp", "/dev/shm"}
    places.add(f"/tmp/minires-attack-{os.getppid()}")
    numpy = os.path.realpath(sys.modules["numpy"].__file__)
    for path in [*sys.path, os.getcwd(), sys.executable, numpy]:
        while len(path) > 1:
            path = os.path.dirname(path)
            places.add(path)
    allowed = (*sys.path, os.path.dirname(numpy))
    for place in sorted(places):
        if place.startswith(allowed):
            continue
        try:
            print("BREACH: listed", place, os.listdir(place)[:3])
        except OSError:
            pass
    for path in (f"/tmp/minires-attack-{os.getppid()}/answers.txt", "/etc/passwd", "/etc/hostname"):
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDONLY | os.O_NOFOLLOW):
            try:
                print("BREACH:", path, os.read(os.open(path, flags), 20))
            except OSError:
                pass
