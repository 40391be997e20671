"""A class of 100 students graded: ``python -m tests.proofs.grading``.

The submissions of a03 are the solution, the stub, correct solutions in other styles, every known
mistake, two mistakes at once, and half-done and broken work; as folders, zip files, scripts and
notebooks.  They are graded by the command with --jobs 1, with --jobs 2, and with --jobs 2 once
more, ended by Ctrl-C on the way and gone on with.  All files must be the same, byte for byte, and
each mistake must be named.  The time and the memory of all processes together (the sum of what
each has, what they share counted for each) must be below what is promised for two cores: 5 minutes
and 1 GB.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from minires.course import Assignment, KnownMistake, find_assignment
from minires.course.cells import Cell, join_cells, split_cells
from minires.table import Cell as TableCell
from minires.table import format_table

STYLES = Path(__file__).parents[1] / "course" / "styles"
MOST_SECONDS, MOST_BYTES = 300.0, 1 << 30


def texts(assignment: Assignment, count: int) -> dict[str, str]:
    """So many submissions by the names of their students, which say what they are."""
    master, stub = join_cells(assignment.master_cells), join_cells(assignment.stub_cells)
    made = {"solution": master, "stub": stub}
    for style in sorted((STYLES / assignment.name).glob("*.py")):
        made[f"style {style.stem}"] = style.read_text(encoding="utf-8")
    for mistake in assignment.mistakes:
        made[f"mistake {mistake.name}"] = assignment.edited(mistake)
    for i in range(1, len(assignment.tasks)):
        made[f"half {i}"] = half_done(assignment, i)
    made["broken syntax"] = master.replace("def pad(x", "def pad((x", 1)
    made["broken end"] = master + "\n\nprint('done')\nraise SystemExit\n"
    made["broken loop"] = stub.replace(
        'raise NotImplementedError("output_size")', "while True: pass", 1
    )
    made["empty"] = ""
    pairs = list(itertools.combinations(assignment.mistakes, 2))
    random.Random(0).shuffle(pairs)
    for one, other in pairs:
        if len(made) >= count:
            break
        if not set(one.tasks) & set(other.tasks):
            text = both(assignment, one, other)
            if text is not None:
                made[f"two {one.name} {other.name}"] = text
    return dict(itertools.islice(made.items(), count))


def half_done(assignment: Assignment, done: int) -> str:
    """The first tasks solved, the others as they were given."""
    names = [task.name for task in assignment.tasks[:done]]
    cells: list[Cell] = []
    for solved, given in zip(assignment.master_cells, assignment.stub_cells, strict=True):
        cells.append(solved if solved.task in names else given)
    return join_cells(cells)


def both(assignment: Assignment, one: KnownMistake, other: KnownMistake) -> str | None:
    """The master with two mistakes, if they are in different places."""
    text = assignment.edited(one)
    for old, new in other.edits:
        if text.count(old) != 1:
            return None
        text = text.replace(old, new)
    return text


def hand_in(folder: Path, assignment: Assignment, submissions: dict[str, str]) -> None:
    """Write them, each in one of the forms that students hand in."""
    name = f"{assignment.name}.py"
    for number, (student, text) in enumerate(submissions.items()):
        form = number % 4
        if form == 0:
            (folder / student).mkdir(parents=True)
            (folder / student / name).write_text(text, encoding="utf-8")
        elif form == 1:
            with zipfile.ZipFile(folder / f"{student}.zip", "w") as archive:
                archive.writestr(f"work/{name}", text)
        elif form == 2:
            (folder / f"{student}.py").write_text(text, encoding="utf-8")
        else:
            cells = [{"cell_type": "code", "source": cell.text} for cell in split_cells(text)]
            (folder / f"{student}.ipynb").write_text(json.dumps({"cells": cells}))


class Watch(threading.Thread):
    """Adds up the memory of a process and all that it has started, again and again."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.peak = max(self.peak, sum(tree(self.pid)))


def tree(root: int) -> list[int]:
    """The resident bytes of a process and of all below it."""
    parents, sizes = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)] = int(status[1])
                sizes[int(entry)] = int(status[21]) * os.sysconf("SC_PAGE_SIZE")
            except (OSError, IndexError, ValueError):
                continue  # it has ended

    def is_below(pid: int) -> bool:
        while pid not in (root, 0, 1):
            pid = parents.get(pid, 0)
        return pid == root

    return [size for pid, size in sizes.items() if is_below(pid)]


class Run(NamedTuple):
    """What a run took: seconds by the clock and of the processor, bytes; and its exit code."""

    seconds: float
    processor: float
    peak: int
    code: int


def grade(work: Path, name: str, jobs: int, interrupt_after: float | None = None) -> Run:
    """Run the command."""
    words = [sys.executable, "-m", "minires", "course", "grade", "a03", str(work / "in")]
    words += ["--out", str(work / name), "--jobs", str(jobs), "--secret", str(work / "secret")]
    began = time.monotonic()
    with (work / f"{name}.txt").open("w") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
        watch = Watch(process.pid)
        watch.start()
        if interrupt_after is not None:
            time.sleep(interrupt_after)
            process.send_signal(signal.SIGINT)
        before = processor_time()
        code = process.wait()
        watch.over.set()
        watch.join()
    return Run(time.monotonic() - began, processor_time() - before, watch.peak, code)


def processor_time() -> float:
    """Seconds of the processor for all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unnamed(assignment: Assignment, folder: Path) -> list[str]:
    """Known mistakes that were not named, and correct solutions without full marks."""
    wrong = []
    with (folder / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            kind, _, rest = row["student"].partition(" ")
            full = row["points"] == row["of"]
            if kind == "mistake":
                [mistake] = [m for m in assignment.mistakes if m.name == rest]
                lost = [t.name for t in assignment.tasks if float(row[t.name]) < t.points]
                if row["mistakes"] != rest or lost != list(mistake.tasks):
                    wrong.append(row["student"])
            elif full != (kind in ("solution", "style") or row["student"] == "broken end"):
                wrong.append(row["student"])
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=100)
    options = parser.parse_args(arguments)
    assignment = find_assignment("a03")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "in").mkdir()
        (work / "secret").write_text("a secret of the proof, long enough")
        (work / "secret").chmod(0o600)
        submissions = texts(assignment, options.students)
        hand_in(work / "in", assignment, submissions)
        runs = {"--jobs 1": grade(work, "one", 1), "--jobs 2": grade(work, "two", 2)}
        two = runs["--jobs 2"]
        runs["--jobs 2, Ctrl-C"] = grade(work, "stopped", 2, interrupt_after=two.seconds / 2)
        runs["the rest of it"] = grade(work, "stopped", 2)
        runs["again, all kept"] = grade(work, "two", 2)
        headers = [f"{len(submissions)} students", "seconds", "of the processor", "MB at most"]
        rows: list[list[TableCell]] = [
            [what, round(run.seconds, 1), round(run.processor, 1), round(run.peak / 1e6)]
            for what, run in runs.items()
        ]
        print(format_table(headers, rows))
        one = contents(work / "one")
        same = one == contents(work / "two") == contents(work / "stopped")
        print(f"{len(one)} files, {'the same bytes in all runs' if same else 'OTHER BYTES'}")
        wrong = unnamed(assignment, work / "one")
        print(f"mistakes not named, or points not as they should be: {', '.join(wrong) or 'none'}")
        if not same or wrong:
            print((work / "two.txt").read_text())
    cheap = two.seconds <= MOST_SECONDS and two.peak < MOST_BYTES
    ended = [run.code for run in runs.values()] == [0, 0, 130, 0, 0]
    return int(not (same and cheap and ended and not wrong))


if __name__ == "__main__":
    sys.exit(main())
