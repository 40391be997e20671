"""Files and folders of the sandbox: what may be read, what was written, and who owns it."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["bytes_in", "give_away", "macos_profile", "python_files", "remove"]

_BLOCK = 4096
# Numbers of users: those that systemd leaves to nobody; for a container, which may have only 2^16,
# some that it seldom gives out; and the user "nobody".
_OWN, _SMALL, _NOBODY = range(0x7000_0000, 0x7FFF_FFFF), range(60_600, 61_100), 65_534


def give_away(folder: Path) -> int | None:
    """Give the folder to a user that owns nothing else, if this is root; the number of that user.

    It comes from the folder's number in the file system, so that folders that are there at the same
    time, of whichever run, have different users.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    number = os.stat(folder).st_ino
    for user in (_OWN[number % len(_OWN)], _SMALL[number % len(_SMALL)], _NOBODY):
        with contextlib.suppress(OSError):  # inside a container a user may not exist
            os.chown(folder, user, user)
            return user
    return None


def bytes_in(folder: Path, enough: int) -> int:
    """The size of all files in it, counted until it is more than enough."""
    total = 0
    with contextlib.suppress(OSError):
        for path, folders, files in os.walk(folder):
            for name in [*folders, *files]:
                with contextlib.suppress(OSError):
                    size = os.lstat(os.path.join(path, name)).st_size
                    total += -(-max(size, 1) // _BLOCK) * _BLOCK
            if total > enough:
                break
    return total


def remove(folder: Path) -> None:
    """Remove a folder that was made hard to remove, by modes or by folders thousands deep.

    What lies in a folder within it is moved up before that is removed, so no path grows long.
    """
    fresh = (folder / f".moved-{n}" for n in itertools.count())
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
        for _ in range(100_000):  # each turn takes a level away
            entries = list(os.scandir(folder))
            if not entries:
                break
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry)
                    continue
                os.chmod(entry, 0o700)
                for inner in os.scandir(entry):
                    if inner.is_dir(follow_symlinks=False):
                        os.chmod(inner, 0o700)  # a folder that moves is written in
                    os.rename(inner, _free(fresh))
                os.rmdir(entry)
        os.rmdir(folder)


def _free(fresh: Iterator[Path]) -> Path:
    return next(path for path in fresh if not os.path.lexists(path))


def python_files() -> Iterator[str]:
    """What Python and its standard library need, and nothing that was installed beside them."""
    apart = ("site-packages", "dist-packages")
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    for place in sorted(filter(None, standard)):
        yield from (entry.path for entry in _entries(place) if entry.name not in apart)
    libraries = [sysconfig.get_config_var("LIBDIR"), "/lib", "/lib64", "/usr/lib", "/usr/lib64"]
    triplet = sysconfig.get_config_var("MULTIARCH")
    libraries += [f"/usr/lib/{triplet}", f"/lib/{triplet}"] if triplet else []
    for place in dict.fromkeys(filter(None, libraries)):
        for entry in _entries(place):
            if not entry.name.startswith("python") and (entry.is_file() or entry.name == triplet):
                yield entry.path
    yield from ("/dev/urandom", "/dev/zero", "/etc/ld.so.cache")
    yield from ("/etc/localtime", "/usr/share/zoneinfo")
    yield "/proc/self/maps"  # of this process alone: threadpoolctl looks for BLAS in it


def _entries(place: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def macos_profile(readable: Sequence[str], folder: Path) -> str:
    """The rules of macOS's sandbox-exec that stand for Landlock and seccomp.

    Of several rules that fit, the last holds.
    """
    real = os.path.realpath(folder)  # the rules know no links, and /tmp and /var are some
    lines = [
        "(version 1)",
        "(allow default)",
        "(deny network*)",
        "(deny process-fork)",
        "(deny signal (target others))",
        "(deny mach-priv* iokit-open)",
        "(deny file-write*)",
        f"(allow file-write* (subpath {_quoted(real)}))",
        '(allow file-write-data (literal "/dev/null"))',
        "(deny file-write-flags file-write-mode file-write-owner)",
        '(deny file-read-data (subpath "/Users") (subpath "/Volumes") (subpath "/private/tmp")'
        ' (subpath "/private/var/folders"))',
    ]
    allowed = [*readable, real, *filter(None, [sysconfig.get_config_var("PYTHONFRAMEWORKPREFIX")])]
    lines += [
        f"(allow file-read-data (subpath {_quoted(os.path.realpath(path))}))" for path in allowed
    ]
    lines += [f"(allow file-read-data (literal {_quoted(os.path.realpath(sys.executable))}))"]
    return "\n".join(lines)


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
