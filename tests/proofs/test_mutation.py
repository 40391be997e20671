"""The mutants are what they say they are, and the run on them tells killed from survived."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from tests.proofs import mutation, mutation_map
from tests.proofs.mutants import Mutant, mutants_of, sample

ROOT = mutation.minires_project().root
SOURCES = mutation.minires_project().sources()
MUTANTS = {file: mutants_of(source, file) for file, source in SOURCES.items()}


def tokens(source: str) -> list[str]:
    """The words and signs of a text, without comments and line ends."""
    kinds = tokenize.OP, tokenize.NAME, tokenize.NUMBER, tokenize.STRING
    read = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in read if token.type in kinds]


def changes(source: str) -> set[str]:
    return {f"{m.line} | {m.change}" for m in mutants_of(source, "sample.py")}


def test_there_are_hundreds_of_mutants_in_every_folder_and_each_has_a_name_of_its_own() -> None:
    everything = [mutant for of_file in MUTANTS.values() for mutant in of_file]
    folders = Counter(mutant.file.rpartition("/")[0] for mutant in everything)
    assert set(folders) == {*mutation_map.FOLDERS, "minires/kernels/cuda"}
    assert min(folders.values()) >= 200
    assert len({mutant.id for mutant in everything}) == len(everything)


@pytest.mark.parametrize("file", ["minires/kernels/norm.py", "minires/functional/shape.py"])
def test_a_mutant_differs_in_one_token_and_compiles(file: str) -> None:
    source = SOURCES[file]
    before = tokens(source)
    for mutant in MUTANTS[file][::4]:
        changed = mutant.apply(source)
        compile(changed, file, "exec")
        after, new, old = tokens(changed), mutant.new.split(), mutant.old.split()
        first = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        # 'is not' is one operator: then it is the second word that came or went.
        while first and before[first : first + len(old)] != old:
            first -= 1
        assert after == before[:first] + new + before[first + len(old) :], mutant
        assert changed.count("\n") == source.count("\n")


def test_operators_numbers_names_and_bounds_are_changed_and_what_computes_nothing_is_not() -> None:
    assert changes("a = b - c * 2") == {
        "a = b - c * 2 | - -> +",
        "a = b - c * 2 | * -> /",
        "a = b - c * 2 | 2 -> 3",
    }
    assert changes("x += y[i:, -1]") == {
        "x += y[i:, -1] | += -> -=",
        "x += y[i:, -1] | += -> =",
        "x += y[i:, -1] | i -> nothing",
        "x += y[i:, -1] | - -> nothing",
        "x += y[i:, -1] | 1 -> 0",
        "x += y[i:, -1] | 1 -> 2",
    }
    assert changes("if not a is not b and max(c) <= True: pass") == {
        f"if not a is not b and max(c) <= True: pass | {change}"
        for change in (
            "not -> nothing",
            "is not -> is",
            "and -> or",
            "max -> min",
            "<= -> <",
            "<= -> >",
            "True -> False",
        )
    }
    assert changes("for i in x.argmax(0):\n    break") == {
        "for i in x.argmax(0): | argmax -> argmin",
        "for i in x.argmax(0): | 0 -> 1",
        "break | break -> continue",
    }
    silent = '''
        """Text + 1."""
        from __future__ import annotations
        __all__ = ["a"] + ["b"]
        if TYPE_CHECKING:
            x = 1 + 1
        Sizes: TypeAlias = tuple[int, 3]
        @decorated(1)
        def f(a: Literal[1]) -> Literal[2]:
            assert a > 1
            list(zip(a, a, strict=True))
            raise ValueError(f"{a + 1} is {1 - a}" + "!")
    '''
    unindented = "\n".join(line[8:] for line in silent.splitlines())
    assert changes(unindented) == {"Sizes: TypeAlias = tuple[int, 3] | 3 -> 4"}


def test_equal_changes_of_a_line_are_counted_and_a_key_outlives_edits_elsewhere() -> None:
    one, two = mutants_of("def f(a):\n    g(a + a, a + a)", "f.py")
    assert (one.nth, two.nth) == (1, 2)
    assert one.function == "f"
    later = mutants_of("b = 5\n\n\ndef f(a):\n    g(a + a, a + a)", "f.py")
    assert [m.key for m in later if m.function] == [one.key, two.key]
    assert later[-1].number == two.number + 3


def test_the_map_names_tests_that_are_there_and_knows_every_file() -> None:
    for file in SOURCES:
        for stage in mutation_map.stages_for(file):
            paths = [word for word in stage if word.startswith(("tests/", "minires/"))]
            assert paths
            assert [path for path in paths if not (ROOT / path).exists()] == []
    known = {f"minires/{place}.py" for place in mutation_map.OWN}
    assert known == {file for file in SOURCES if not file.endswith("__init__.py")}


def test_a_sample_is_the_same_for_a_seed_and_has_its_share_of_every_file() -> None:
    drawn = sample(MUTANTS, 360, seed=0)
    assert drawn == sample(MUTANTS, 360, seed=0)
    assert drawn != sample(MUTANTS, 360, seed=1)
    assert len(drawn) == len(set(drawn)) == 360
    total = sum(map(len, MUTANTS.values()))
    taken = Counter(mutant.file for mutant in drawn)
    for file, of_file in MUTANTS.items():
        assert taken[file] >= min(3, len(of_file))
        assert taken[file] <= max(3, 360 * len(of_file) / total + 1)
    everything = sample(MUTANTS, 10**6, seed=0)
    assert len(everything) == total


def test_every_explanation_is_of_a_mutant_that_there_is() -> None:
    keys = {mutant.key for of_file in MUTANTS.values() for mutant in of_file}
    explained = mutation.explanations(mutation.SURVIVORS)
    assert [key for key in explained if key not in keys] == []
    assert all(len(reason) > 20 for reason in explained.values())


SAMPLE = {
    "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\nmarkers = ['slow: long']\n",
    "tests/__init__.py": "",
    "tests/test_sample.py": """
import subprocess, sys
from sampled import double
def test_double():
    assert double(2) == 4
    assert double(3) == 6
def test_a_process_that_leaves_bytecode():
    subprocess.run([sys.executable, "-c", "import sampled"], env={}, check=True)
""",
    "sampled/__init__.py": """
def double(x):
    unused = 5
    y = 0
    while y < x:
        y += 1
    return y * 2 or 0
""",
}
DRIVER = """
import pathlib, sys
from tests.proofs import mutation, mutation_run
project = mutation_run.Project(
    pathlib.Path(sys.argv[1]), ("sampled", "tests", "pyproject.toml"), "sampled", ("sampled",),
    lambda file: [("tests/test_sample.py",)])
mutation_run.USUAL_LIMIT = 1.0
sys.exit(mutation.main(sys.argv[2:], project))
"""


def test_a_run_tells_killed_survived_and_endless_mutants_apart(tmp_path: Path) -> None:
    for name, text in SAMPLE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    source = SAMPLE["sampled/__init__.py"]
    mutants = {m.change: m for m in mutants_of(source, "sampled/__init__.py")}
    # The second is as long as the first: what was compiled for one must not be run for the other.
    wanted = {
        "5 -> 6": "passed",
        "* -> /": "failed",
        "or -> and": "failed",
        "< -> <=": "failed",
        "+= -> -=": "timeout",
    }
    results = tmp_path / "results.jsonl"
    only = [f"--only={mutants[change].id}" for change in wanted]
    ran = run(tmp_path, *only, f"--results={results}")
    entries = [json.loads(line) for line in results.read_text().splitlines()]
    assert {e["change"]: e["verdict"] for e in entries} == wanted
    assert {e["by"] for e in entries if e["verdict"] == "failed"} == {
        "tests/test_sample.py::test_double"
    }
    assert ran.returncode == 1
    assert "NOT EXPLAINED" in ran.stdout
    assert "5 mutants: 4 killed (80.0%), 0 survived and explained, 1 survived" in ran.stdout
    assert "-    return y * 2 or 0\n+    return y / 2 or 0" in ran.stdout
    assert (tmp_path / "sampled/__init__.py").read_text() == source


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run on the sample, in a process of its own, as it is meant to be."""
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(root), "--survivors", str(root / "none"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_report_holds_only_with_enough_killed_and_every_survivor_explained() -> None:
    mutants: list[Mutant] = MUTANTS["minires/kernels/norm.py"][:100]
    finished = {
        verdict: mutation.Finished(mutation.Task(None, ()), verdict)
        for verdict in ("passed", "failed", "timeout")
    }

    def report(survivors: int, explained: int) -> mutation.Report:
        made = mutation.Report({m.key: "because it is so" for m in mutants[:explained]})
        for i, mutant in enumerate(mutants):
            made.add(mutant, finished["passed" if i < survivors else ("failed", "timeout")[i % 2]])
        return made

    assert report(5, 5).holds
    assert not report(6, 6).holds
    assert not report(5, 4).holds
    assert not mutation.Report({}).holds
    assert "95 killed (95.0%), 4 survived and explained, 1 survived and not" in str(report(5, 4))
    assert "killed, so it needs no explanation any more" in str(report(1, 2))
