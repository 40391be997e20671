"""The tutorials: which there are, what each teaches, and how they get into a working folder.

An installed wheel carries them in ``notebook_files`` beside this file; in a clone they are in
``notebooks``.  Their worked solutions come with them, because who learns alone has nobody to ask;
those of assignments never leave a clone.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from minires.errors import UsageError
from minires.files import write_whole

__all__ = ["Tutorial", "copy_tutorials", "tutorial_folder", "tutorials"]

SOLUTIONS = "solutions"
_NAMES = "[0-9][0-9]_*.ipynb"

_TITLE = re.compile(r"# (\d\d) · (.+)")
_TIME = re.compile(
    r"(?P<half>half an hour)|(?P<long>an hour and a half)|(?P<hour>an hour)"
    r"|(?P<hours>two|three) hours|(?P<minutes>\d+|two|three|five|ten|fifteen|twenty) minutes"
)
_NUMBERS = {"two": 2, "three": 3, "five": 5, "ten": 10, "fifteen": 15, "twenty": 20}
_FIXED = {"half": 30, "long": 90, "hour": 60}
_AFTERWARDS = re.compile(r"Afterwards\s+you\s+(will\s+be\s+able\s+to|will|can)\s*:?\s+")
_MARKUP = re.compile(r"[*`$]|\[(?=[^\]]*\]\()|(?<=\w)\]\([^)]*\)")
_LONGEST = 100  # characters of what a tutorial teaches


class Tutorial(NamedTuple):
    """A tutorial, in its own words.

    ``teaches`` is the first of the things that it says the reader can do afterwards, and goes on
    from "afterwards you"; ``minutes`` is how long it says that it takes, with the exercises.
    """

    path: Path
    number: str
    title: str
    teaches: str
    minutes: int | None


def tutorial_folder() -> Path:
    """Where the notebooks are: in the installed package, or in the clone that it is imported from.

    Raises UsageError where there are none.
    """
    installed = Path(__file__).with_name("notebook_files")
    cloned = Path(__file__).parents[1] / "notebooks"
    for folder in (installed, cloned):
        if any(folder.glob(_NAMES)):
            return folder
    raise UsageError(
        f"the tutorials are not there, neither in {str(installed)!r} nor in {str(cloned)!r}; "
        "install minires again."
    )


def tutorials() -> list[Tutorial]:
    """All tutorials in reading order.

    >>> first = tutorials()[0]
    >>> first.number, first.title, first.minutes
    ('00', 'A first look', 2)
    """
    return [_read(path) for path in sorted(tutorial_folder().glob(_NAMES))]


def copy_tutorials(
    folder: Path,
    *,
    solutions: bool = False,
    existing: Literal["refuse", "replace", "keep"] = "refuse",
) -> list[Path]:
    """Copy the notebooks into a folder, and return those that were written.

    ``solutions`` copies the worked solutions too, into a folder of their own.  A file that is
    there with the same content is left alone.  With one that differs, ``existing`` decides: it is
    replaced or kept, or UsageError is raised before anything is written.
    """
    if os.path.isfile(folder):
        raise UsageError(f"{str(folder)!r} is a file, not a folder; choose another one.")
    source = tutorial_folder()
    changed: list[str] = []
    new: list[tuple[Path, dict[str, bytes]]] = []
    for part in (SOLUTIONS, "") if solutions else ("",):
        contents: dict[str, bytes] = {}
        for path in sorted((source / part).glob(_NAMES)):
            target, content = folder / part / path.name, path.read_bytes()
            if os.path.isdir(target):
                raise UsageError(f"{str(target)!r} is a folder, and a notebook is to be there.")
            if os.path.exists(target):
                if existing == "keep" or _content(target) == content:
                    continue
                changed.append(str(Path(part) / path.name))
            contents[path.name] = content
        if contents:
            new.append((folder / part, contents))
    if changed and existing == "refuse":
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        names = f"name{'s' if len(changed) > 1 else ''} of {', '.join(changed[:3])}{more}"
        raise UsageError(
            f"in {str(folder)!r} there is something else under the {names}, perhaps your own work; "
            "nothing was copied. 'minires notebooks start' adds what is missing and leaves the "
            "rest alone; --force replaces it, and your work is lost."
        )
    return [path for place, contents in new for path in write_whole(place, contents)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r} ({error.strerror or error}).") from None


def _read(path: Path) -> Tutorial:
    """The title and what stands above the first code cell say it all."""
    number, title, introduction = path.stem[:2], path.stem[3:].replace("_", " "), ""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        found = _TITLE.match(text) if cell["cell_type"] == "markdown" else None
        if found:
            number, title, introduction = found[1], found[2], text[found.end() :]
            break
    return Tutorial(path, number, title.strip(), _teaches(introduction), _minutes(introduction))


def _teaches(introduction: str) -> str:
    r"""The first thing that the reader can do afterwards, in one line.

    >>> _teaches("Afterwards you will be able to\n\n- find *one*\n  thing;\n- and another.")
    'can find one thing'
    >>> _teaches("Afterwards you will know where it goes; and more. You need two minutes.")
    'know where it goes'
    >>> _teaches("Afterwards you can train as He et al. 2015 did. It takes an hour.")
    'can train as He et al. 2015 did'
    >>> _teaches("You need nothing.")
    ''
    """
    found = _AFTERWARDS.search(introduction)
    if found is None:
        return ""
    rest = introduction[found.end() :].split("\n\n")[0]
    if rest.startswith("- "):
        rest = rest[2:].split("\n- ")[0]
    line = _MARKUP.sub("", " ".join(rest.split()))
    line = re.split(r"(?<=\w)(?<!et al)[.;:](?: |$)", line)[0].rstrip(".;,")
    if len(line) > _LONGEST:
        line = line[: line.rfind(", ", 0, _LONGEST)]
    return line if found[1] == "will" else f"can {line}"


def _minutes(introduction: str) -> int | None:
    """How long it takes, as the introduction says it.

    >>> _minutes("It takes about an hour and a half; the cells run in half a minute.")
    90
    >>> _minutes("It takes 45 minutes."), _minutes("You need two minutes."), _minutes("Long.")
    (45, 2, None)
    """
    found = _TIME.search(" ".join(introduction.split()))
    if found is None:
        return None
    kind, text = next((kind, text) for kind, text in found.groupdict().items() if text)
    if kind in _FIXED:
        return _FIXED[kind]
    number = _NUMBERS.get(text) or int(text)
    return number * 60 if kind == "hours" else number
