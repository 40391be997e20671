"""Mutation: change one token of the code, and see whether a test notices.

    python -m tests.proofs.mutation                     360 mutants drawn from all files
    python -m tests.proofs.mutation --file minires/kernels/pool.py --all
    python -m tests.proofs.mutation --only ID           one mutant: its diff, and what kills it

Mutants are made of every file of minires/kernels, minires/autograd and minires/functional (see
mutants.py).  Each is written into a copy of the project, never into the project itself; the tests
that mutation_map.py names for the file are run on it until one fails.  A mutant that runs out of
time is killed too.  Those that no test kills are survivors: survivors.toml says of each why none
can, or why none should.  They count against the percentage all the same.

The exit status is 0 if at least 95% are killed and every survivor is explained.  Linux and macOS.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.proofs import mutation_map, mutation_run
from tests.proofs.mutants import Mutant, sample
from tests.proofs.mutation_run import Bench, Finished, Project, Task, warm_up

__all__ = ["Report", "explanations", "main", "minires_project"]

SURVIVORS = Path(__file__).with_name("survivors.toml")

Key = tuple[str, str, str, str, int]


def minires_project() -> Project:
    root = Path(__file__).resolve().parents[2]
    return Project(
        root, mutation_map.COPIED, "minires", mutation_map.FOLDERS, mutation_map.stages_for
    )


def explanations(path: Path) -> dict[Key, str]:
    """Why each known survivor survives, by the mutant's key."""
    if not path.exists():
        return {}
    entries = tomllib.loads(path.read_text()).get("survivor", [])
    return {
        (e["file"], e["function"], e["line"], e["change"], e.get("nth", 1)): e["reason"]
        for e in entries
    }


@dataclass
class Report:
    """What is known so far, and how it is printed."""

    explained: dict[Key, str]
    wanted: float = 0.95
    results: list[tuple[Mutant, Finished]] = field(default_factory=list)

    def add(self, mutant: Mutant, finished: Finished) -> None:
        self.results.append((mutant, finished))

    @property
    def survivors(self) -> list[Mutant]:
        return [mutant for mutant, finished in self.results if finished.verdict == "passed"]

    @property
    def unexplained(self) -> list[Mutant]:
        return [mutant for mutant in self.survivors if mutant.key not in self.explained]

    @property
    def share(self) -> float:
        """The share that was killed."""
        return 1.0 - len(self.survivors) / max(len(self.results), 1)

    @property
    def holds(self) -> bool:
        return bool(self.results) and self.share >= self.wanted and not self.unexplained

    def table(self) -> str:
        head = ("file", "mutants", "killed", "survived", "timeouts", "seconds")
        rows = {mutant.file: Counter[str]() for mutant, _ in self.results}
        for mutant, finished in self.results:
            for row in (rows[mutant.file], rows.setdefault("together", Counter())):
                row["mutants"] += 1
                row["killed"] += finished.verdict != "passed"
                row["survived"] += finished.verdict == "passed"
                row["timeouts"] += finished.verdict == "timeout"
                row["seconds"] += finished.seconds  # type: ignore[assignment]
        rows["together"] = rows.pop("together", Counter())
        lines = [f"{head[0]:36}" + "".join(f"{name:>10}" for name in head[1:])]
        for file in sorted(rows, key=lambda file: (file == "together", file)):
            lines.append(f"{file:36}" + "".join(f"{rows[file][name]:10.0f}" for name in head[1:]))
        return "\n".join(lines)

    def __str__(self) -> str:
        lines = [self.table(), ""]
        for mutant in self.survivors:
            lines += [f"survived  {mutant.id}  line {mutant.number}, in {mutant.function or '-'}"]
            lines += [f"  {mutant.line}", f"  {mutant.change}"]
            lines += [f"  {self.explained.get(mutant.key, 'NOT EXPLAINED')}", ""]
        for mutant, finished in self.results:
            if finished.verdict != "passed" and mutant.key in self.explained:
                lines += [f"killed, so it needs no explanation any more: {mutant.id}"]
        killed, unexplained = len(self.results) - len(self.survivors), len(self.unexplained)
        lines += [
            f"{len(self.results)} mutants: {killed} killed ({self.share:.1%}), "
            f"{len(self.survivors) - unexplained} survived and explained, "
            f"{unexplained} survived and not explained",
        ]
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    given = _parser().parse_args(arguments)
    project = project or minires_project()
    explained = explanations(given.survivors)
    sources = project.sources()
    chosen = _choose(given, {file: project.mutants_of(sources[file], file) for file in sources})
    if given.list:
        for mutant in chosen:
            print(f"{mutant.id}  {mutant.number:4}  {mutant.change:24} {mutant.line}")
        return 0
    warm_up()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        bench = Bench(project, Path(folder).resolve(), min(given.jobs, len(chosen)))
        with bench:
            if not _unchanged_passes(bench, project, chosen):
                return 2
            return _judge(bench, project, chosen, Report(explained, project.wanted), given, sources)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.mutation")
    parser.add_argument("--count", type=int, default=360, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--all", action="store_true", help="every mutant, instead of a draw")
    parser.add_argument("--file", action="append", help="of this source file only; repeatable")
    parser.add_argument("--only", action="append", metavar="ID", help="this mutant; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="name the mutants, and run nothing")
    parser.add_argument("--results", type=Path, help="write each result here at once, as JSON")
    parser.add_argument("--survivors", type=Path, default=SURVIVORS, help="the explanations")
    return parser


def _choose(given: argparse.Namespace, mutants: dict[str, list[Mutant]]) -> list[Mutant]:
    """The mutants that were asked for, in the order of the files."""
    for file in given.file or ():
        if file not in mutants:
            sys.exit(f"--file {file}: it is none of the files that are mutated.")
    if given.file:
        mutants = {file: mutants[file] for file in mutants if file in given.file}
    everything = [mutant for of_file in mutants.values() for mutant in of_file]
    if given.only:
        chosen = [mutant for mutant in everything if mutant.id in given.only]
        if len(chosen) < len(set(given.only)):
            sys.exit("--only: there is no mutant of this name; --list --all names them.")
        return chosen
    return everything if given.all else sample(mutants, given.count, given.seed)


def _unchanged_passes(bench: Bench, project: Project, chosen: list[Mutant]) -> bool:
    """Whether the project as it is passes every stage; and how long each may take, from now on.

    The stages that all files share are run in every copy, which fills its caches of bytecode.
    """
    stages = {m.file: project.stages_for(m.file) for m in chosen}
    every = list(dict.fromkeys(stage for of_file in stages.values() for stage in of_file))
    shared = [s for s in every if all(s in of_file for of_file in stages.values())]
    tasks = [Task(None, shared, slot=i) for i in range(len(bench.slots)) if shared]
    tasks += [Task(None, [stage]) for stage in every if stage not in shared]
    print(f"The code as it is, on {len(every)} sets of tests:")
    for finished in _progress(bench.run(tasks), len(tasks)):
        if finished.verdict != "passed":
            print(finished.log)
            print(f"The unchanged code fails {finished.by}; nothing can be said of mutants.")
            return False
        for stage, seconds in finished.stage_seconds.items():
            limit = mutation_run.USUAL_LIMIT + 5.0 * seconds
            bench.limits[stage] = max(bench.limits.get(stage, 0.0), limit)
    return True


def _judge(
    bench: Bench,
    project: Project,
    chosen: list[Mutant],
    report: Report,
    given: argparse.Namespace,
    sources: dict[str, str],
) -> int:
    print(f"{len(chosen)} mutants:")
    began = time.monotonic()
    tasks = [Task(mutant, project.stages_for(mutant.file)) for mutant in chosen]
    interrupted = False
    try:
        for finished in _progress(bench.run(tasks), len(tasks)):
            mutant = finished.task.mutant
            assert mutant is not None
            report.add(mutant, finished)
            if given.results:
                _write(given.results, mutant, finished)
    except KeyboardInterrupt:
        interrupted = True
    report.results.sort(key=lambda result: (result[0].file, result[0].start, result[0].new))
    if given.only:
        for mutant, finished in report.results:
            print(f"\n{mutant.diff(sources[mutant.file])}")
            print(f"\n{finished.verdict} {finished.by}".rstrip())
    print(f"\n{report}\nin {(time.monotonic() - began) / 60:.1f} minutes, {given.jobs} at a time")
    if interrupted:
        print(f"Stopped before the end: {len(chosen) - len(report.results)} were not judged.")
    return 0 if report.holds and not interrupted else 1


def _progress(finished: Iterator[Finished], total: int) -> Iterator[Finished]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would be a thread, and this process forks
    yield from tqdm(finished, total=total, unit="", disable=None)


def _write(path: Path, mutant: Mutant, finished: Finished) -> None:
    with path.open("a") as file:
        entry = {
            **{name: getattr(mutant, name) for name in ("id", "function", "line", "change", "nth")},
            **{name: getattr(finished, name) for name in ("verdict", "by")},
            "seconds": round(finished.seconds, 2),
        }
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    sys.exit(main())
