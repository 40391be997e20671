# Writes wherever everybody may: temporary folders, shared memory, devices.
# loses: pad
# walls: files
import os


def pad(x, padding):
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue", "/root", ".."):
        for flags in (os.O_CREAT | os.O_WRONLY, os.O_TMPFILE | os.O_RDWR):
            path = place if flags & os.O_TMPFILE == os.O_TMPFILE else f"{place}/minires-attack-file"
            try:
                os.open(path, flags, 0o600)
                print("BREACH: wrote in", place)
            except OSError:
                pass
    for device in ("/dev/mem", "/dev/tty", "/dev/console", "/dev/ptmx", "/dev/full"):
        try:
            os.open(device, os.O_RDWR)
            print("BREACH: opened", device)
        except OSError:
            pass
    return x
