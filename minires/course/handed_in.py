"""The files that students handed in, as a folder or a zip file has them.

Names, sizes and contents are the students' own, so nothing is believed: links are not followed,
what is no ordinary file is not opened, and of no file more is read than was asked for.
"""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import threading
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from minires.course.words import listed
from minires.errors import UsageError

__all__ = ["Entry", "HandedIn", "entries_in", "files_in", "files_in_zip", "is_code", "visible"]

CODE = (".py", ".ipynb")
MOST_FILES = 2000  # of one student
LARGEST_ZIP = 64 << 20  # bytes
_MOST_IN_ZIP = 50_000  # what lies in folders that are left out, too
_LEFT_OUT = ("__MACOSX", "__pycache__", ".ipynb_checkpoints", ".git", ".venv", "assignment_files")
_ARCHIVES = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_MOODLE = re.compile(
    r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+_?(?P<rest>.*)", re.DOTALL
)
_CANVAS = re.compile(
    r"(?P<name>[^_]+)_(?:(?P<late>LATE)_)?(?P<number>\d+)_\d+_(?P<rest>.+)", re.DOTALL
)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class HandedIn:
    """A file: its name, with / between folders, and how at most so many bytes of it are read."""

    name: str
    read: Callable[[int], bytes]


@dataclass(frozen=True)
class Entry:
    """What one student handed in.

    Attributes:
        student: who it is, as the name of the folder or file says.
        name, number: the parts of it that Moodle or Canvas put there; else the same, and ''.
        sources: the folders and files that it consists of.
        files: reads the names of its files; UsageError if that cannot be done.
        system: 'moodle' or 'canvas', if it is named as they do.
        late: whether Canvas marks it so.
    """

    student: str
    name: str
    number: str
    sources: tuple[str, ...]
    files: Callable[[], list[HandedIn]]
    system: str = ""
    late: bool = False


def visible(text: str) -> str:
    r"""A name as one form of Unicode, with what would not be seen written out.

    >>> print(visible("a\x1bb\u202ec"), visible("e\u0301") == "\u00e9")
    a\x1bb\u202ec True
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in ("Cc", "Zl", "Zp") or char in _TURNING
        else char
        for char in unicodedata.normalize("NFC", text)
    )


def is_code(name: str) -> bool:
    """Whether this is a script or a notebook, and not what systems and editors put beside."""
    return name.lower().endswith(CODE) and not _left_out(name)


# --- one student's files ---


def files_in(path: Path) -> list[HandedIn]:
    """The files of a folder or of a zip file, or the one file that it is."""
    if path.is_dir():
        return _files_of_folder(path)
    handed_in = HandedIn(visible(path.name), functools.partial(_read, path))
    return _files_of(handed_in)


def files_in_zip(handed_in: HandedIn) -> list[HandedIn]:
    """The files of a zip file; UsageError for one that is none, or is too large."""
    data = handed_in.read(LARGEST_ZIP)
    if data.count(b"PK\x01\x02") > _MOST_IN_ZIP:  # an entry each: before they are taken apart
        raise UsageError(f"{handed_in.name} has more than {MOST_FILES} files.")
    archive = _Archive(io.BytesIO(data), handed_in.name)
    files = [file for name, file in archive.files() if file and not _left_out(name)]
    return _few(files, handed_in.name)


def _files_of(handed_in: HandedIn) -> list[HandedIn]:
    is_zip = handed_in.name.lower().endswith(".zip")
    return files_in_zip(handed_in) if is_zip else [handed_in]


def _files_of_folder(folder: Path) -> list[HandedIn]:
    found = []

    def fail(error: OSError) -> None:
        raise UsageError(f"a folder in it cannot be opened ({error.strerror or error}).")

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(place, name)
            label = visible(path.relative_to(folder).as_posix())
            if not _left_out(label) and _is_ordinary(path):
                found.append(HandedIn(label, functools.partial(_read, path)))
        _few(found, visible(folder.name))
    return found


def _few(files: list[HandedIn], what: str) -> list[HandedIn]:
    if len(files) > MOST_FILES:
        raise UsageError(f"{what} has more than {MOST_FILES} files.")
    return files


def _left_out(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part in _LEFT_OUT or part.startswith("._") for part in parts)


def _is_ordinary(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _read(path: Path, most: int) -> bytes:
    """Read a file, but for no pipe that never ends, even if it has just become one."""
    name = visible(path.name)
    try:
        handle = os.open(path, _READ)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UsageError(f"{name} is no ordinary file.")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return _at_most(file.read(most + 1), most, name)
        finally:
            os.close(handle)
    except OSError as error:
        raise UsageError(f"cannot read {name} ({error.strerror or error}).") from None


def _at_most(data: bytes, most: int, name: str) -> bytes:
    if len(data) > most:
        raise UsageError(f"{name} is too large; at most {most:,} bytes are read.")
    return data


class _Archive:
    """A zip file, whose files are read one at a time from whatever thread."""

    def __init__(self, file: Path | io.BytesIO, name: str):
        self.name = name
        self._lock = threading.Lock()
        try:
            self._archive = zipfile.ZipFile(file)
        except Exception as error:  # there is no end to how such a file can be damaged
            raise UsageError(f"cannot read {name} as a zip file ({_why(error)}).") from None

    def files(self) -> Iterator[tuple[str, HandedIn | None]]:
        """The files, with their names as they are; None for a folder."""
        for info in self._archive.infolist():
            name = info.filename.replace("\\", "/")
            file = HandedIn(visible(name), functools.partial(self._unpack, info))
            yield name, None if info.is_dir() else file

    def _unpack(self, info: zipfile.ZipInfo, most: int) -> bytes:
        name = visible(info.filename)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UsageError(f"cannot read {name} in {self.name} (its compression is unusual).")
        try:
            with self._lock, self._archive.open(info) as file:
                data = file.read(most + 1)
        except Exception as error:
            raise UsageError(f"cannot read {name} in {self.name} ({_why(error)}).") from None
        return _at_most(data, most, name)


def _why(error: Exception) -> str:
    return visible(" ".join(str(error).split()))[:100] or type(error).__name__


# --- a class's ---


@dataclass(frozen=True)
class _Top:
    """A folder or file at the top of what a class handed in."""

    name: str
    is_folder: bool
    files: Callable[[], list[HandedIn]]


def entries_in(place: Path, own: tuple[str, ...] = ()) -> tuple[list[Entry], list[str]]:
    """What is handed in there, student by student, and what is to be said about it.

    ``place`` is a folder or a zip file with a folder, a zip file, a script or a notebook a student,
    in Moodle's or Canvas's naming or any other.  In a zip file a folder may be around them; it is
    that of a student if the name of a script in it begins with one of ``own``, the names of the
    assignment.  The order is that of the names.
    """
    try:
        if place.is_dir():
            tops = _tops_of_folder(place)
        elif place.suffix.lower() == ".zip" and place.is_file():
            tops = _tops_of_zip(_Archive(place, visible(place.name)), own)
        else:
            raise UsageError(f"there is no folder and no zip file {str(place)!r} with submissions.")
    except OSError as error:
        raise UsageError(f"cannot read {str(place)!r} ({error.strerror or error}).") from None
    groups: dict[str, list[tuple[_Top, Entry]]] = {}
    ignored = []
    for top in tops:
        entry = _entry(top)
        if entry is None:
            ignored.append(top.name)
        else:
            groups.setdefault(entry.student, []).append((top, entry))
    notices = []
    if ignored:
        notices.append(f"not taken for submissions: {listed(ignored, 5)}.")
    entries = [_joined([entry for _, entry in groups[student]]) for student in sorted(groups)]
    for entry in entries:
        if len(entry.sources) > 1 and entry.system != "moodle":
            notices.append(
                f"{listed(entry.sources, 5)} are taken for one student's, {entry.student}."
            )
    if not entries:
        raise UsageError(f"{str(place)!r} holds no submission: no folder, zip, .py or .ipynb.")
    return entries, notices


def _tops_of_folder(place: Path) -> list[_Top]:
    tops = []
    for path in sorted(place.iterdir()):
        name = visible(path.name)
        if path.is_symlink():
            files = functools.partial(_refuse, f"{name} is a link, and links are not followed.")
        elif not path.is_dir() and not _is_ordinary(path):
            files = functools.partial(_refuse, f"{name} is no ordinary file.")
        else:
            files = functools.partial(files_in, path)
        tops.append(_Top(name, path.is_dir(), files))
    return tops


def _refuse(message: str) -> list[HandedIn]:
    raise UsageError(message)


def _refuse_to_read(message: str, most: int) -> bytes:
    raise UsageError(message)


def _tops_of_zip(archive: _Archive, own: tuple[str, ...]) -> list[_Top]:
    files = [
        (name.lstrip("/").split("/"), file) for name, file in archive.files() if not _left_out(name)
    ]
    while _is_wrapped([parts for parts, file in files if file], own):
        files = [(parts[1:], file) for parts, file in files if len(parts) > 1 and parts[1]]
    tops: dict[str, list[HandedIn]] = {}
    alone: dict[str, HandedIn] = {}
    for parts, file in files:
        name = "/".join(parts)
        if file is None:
            tops.setdefault(parts[0], [])
        elif len(parts) == 1:
            alone[name] = HandedIn(visible(name), file.read)
        else:
            inner = HandedIn(visible("/".join(parts[1:])), file.read)
            tops.setdefault(parts[0], []).append(inner)
    folders = [
        _Top(visible(name), True, functools.partial(_few, inner, visible(name)))
        for name, inner in tops.items()
    ]
    single = [_Top(f.name, False, functools.partial(_files_of, f)) for f in alone.values()]
    return sorted([*folders, *single], key=lambda top: top.name)


def _is_wrapped(names: Sequence[Sequence[str]], own: tuple[str, ...]) -> bool:
    """Whether everything lies in one folder that is no student's: it holds several students'."""
    tops = {parts[0] for parts in names}
    if len(tops) != 1 or any(len(parts) == 1 or _MOODLE.fullmatch(parts[0]) for parts in names):
        return False
    inside = {(parts[1], len(parts) > 2) for parts in names}
    if any(is_code(name) and name.startswith(own) for name, is_folder in inside if not is_folder):
        return False
    return sum(is_folder or _student_file(name) for name, is_folder in inside) > 1


def _student_file(name: str) -> bool:
    return name.lower().endswith((*CODE, ".zip", *_ARCHIVES))


def _entry(top: _Top) -> Entry | None:
    """Whose this is; None for what is nobody's."""
    if top.name.startswith(".") or top.name in _LEFT_OUT:
        return None
    moodle = _MOODLE.fullmatch(top.name)
    canvas = None if top.is_folder or moodle else _CANVAS.fullmatch(top.name)
    match = moodle or canvas
    if match:
        student = f"{match['name']}_{match['number']}"
        files = functools.partial(_renamed, top.files, top.name, match["rest"])
        system, late = ("canvas", bool(canvas["late"])) if canvas else ("moodle", False)
        return Entry(student, match["name"], match["number"], (top.name,), files, system, late)
    if not top.is_folder and not _student_file(top.name):
        return None
    student = top.name if top.is_folder else PurePosixPath(top.name).stem
    return Entry(student, student, "", (top.name,), top.files)


def _renamed(files: Callable[[], list[HandedIn]], name: str, rest: str) -> list[HandedIn]:
    """The files, that of the given name called as the student had called it."""
    return [HandedIn(rest, f.read) if rest and f.name == name else f for f in files()]


def _joined(entries: Sequence[Entry]) -> Entry:
    """One entry of several for the same student."""
    first = entries[0]
    if len(entries) == 1:
        return first
    return Entry(
        first.student,
        first.name,
        first.number,
        tuple(source for entry in entries for source in entry.sources),
        functools.partial(_all_files, entries),
        first.system,
        any(entry.late for entry in entries),
    )


def _all_files(entries: Sequence[Entry]) -> list[HandedIn]:
    """The files of all; what cannot be opened stands for itself, unless there is nothing else."""
    found: dict[str, HandedIn] = {}
    troubles: dict[str, UsageError] = {}
    for entry in entries:
        try:
            files = entry.files()
        except UsageError as error:
            troubles[entry.sources[0]] = error
            continue
        for file in files:
            name = f"{entry.sources[0]}/{file.name}" if file.name in found else file.name
            found[name] = HandedIn(name, file.read)
    if troubles and not found:
        raise next(iter(troubles.values()))
    for source, trouble in troubles.items():
        found[source] = HandedIn(source, functools.partial(_refuse_to_read, str(trouble)))
    return _few(list(found.values()), entries[0].student)
