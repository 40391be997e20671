"""Mutation of CUDA sources: leave out a barrier, a bound or a loop, and see if a test notices.

    python -m tests.proofs.cuda_mutation                every mutant
    python -m tests.proofs.cuda_mutation --file minires/kernels/cuda/norm.cu

As :mod:`tests.proofs.mutation`, with its options, but for the sources of minires/kernels/cuda,
which the tests run on the CPU, a fiber for each thread (fibers.h there).  Each mutant is one of

    a barrier left out           __syncthreads();
    a bound off by one           <  becomes  <=,   <=  becomes  <,   >=  becomes  >
    a sum that forgets           +=  becomes  =
    a loop left out              such as the one for what is left after the last whole pack
    an alignment not asked for   packs(x)  becomes  true,   L % PACK == 0  becomes  true

cuda_survivors.toml says of each survivor why no test can notice it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tests.proofs import mutation, mutation_map
from tests.proofs.mutants import Mutant
from tests.proofs.mutation_run import Project, Stage

__all__ = ["main", "mutants_of"]

FOLDER = "minires/kernels/cuda"
SURVIVORS = Path(__file__).with_name("cuda_survivors.toml")

# What is replaced, in text without comments and macros, and by what.
CHANGES = (
    (re.compile(r"__sync(?:threads|warp)\(\);"), ";"),
    (re.compile(r"(?<= )<(?= )"), "<="),
    (re.compile(r"(?<= )<=(?= )"), "<"),
    (re.compile(r"(?<= )>=(?= )"), ">"),
    (re.compile(r"(?<= )\+=(?= )"), "="),
    (re.compile(r"\b(?=(?:for|FOR_EACH|ALONG) ?\()"), "if (0) "),
    (re.compile(r"\bpacks\(\w+\)(?= [&?)]|\))"), "true"),
    (re.compile(r"\bL % PACK == 0"), "true"),
)
STEP = re.compile(r"\bfor \([^{};]*;[^{};]*;([^{};]*?)\)(?=\s)")  # += there would never end
FUNCTION = re.compile(r"^(?:\w.*?)?\b(\w+)\((?!.*;$)", re.MULTILINE)
OF_HEADER = ("pool", "norm", "elementwise", "softmax", "uniform")
TESTS = {"columns.cu": ("conv",), "real.cuh": OF_HEADER}


def mutants_of(source: str, file: str) -> list[Mutant]:
    """Every mutant of a CUDA source, in the order of the text."""
    code = re.sub(r"//.*", lambda found: " " * len(found[0]), source)
    code = re.sub(r"^#define(?:.*\\\n)*.*", _blank, code, flags=re.MULTILINE)
    steps = [range(*found.span(1)) for found in STEP.finditer(code)]
    functions = [(found.start(), found[1]) for found in FUNCTION.finditer(code)]
    seen: Counter[tuple[str, ...]] = Counter()
    mutants = []
    for start, end, new in sorted(
        (*found.span(), new) for pattern, new in CHANGES for found in pattern.finditer(code)
    ):
        if new == "=" and any(start in step for step in steps):
            continue
        number = code.count("\n", 0, start) + 1
        line, old = source.splitlines()[number - 1].strip(), source[start:end]
        function = next((name for at, name in reversed(functions) if at <= start), "")
        same = (function, line, old, new)
        seen[same] += 1
        begin = len(source[:start].encode())
        span = begin, begin + len(old.encode())
        mutants.append(Mutant(file, function, line, number, *span, old, new, seen[same]))
    return mutants


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def stages_for(file: str) -> list[Stage]:
    """The tests of a source; of real.cuh, those of the sources that use all of it.

    >>> stages_for("minires/kernels/cuda/columns.cu")
    [('tests/kernels/cuda/test_conv.py',)]
    """
    path = PurePosixPath(file)
    names = TESTS.get(path.name, (path.stem,))
    return [(f"tests/kernels/cuda/test_{name}.py",) for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    root = Path(__file__).resolve().parents[2]
    given = sys.argv[1:] if arguments is None else arguments
    project = Project(
        root,
        mutation_map.COPIED,
        "minires",
        (FOLDER,),
        stages_for,
        ("*.cu", "*.cuh"),
        mutants_of,
        # Of these few and blunt changes one in sixteen changes nothing: the alignment of an array
        # that is fresh, a bound that other bounds keep.  cuda_survivors.toml explains each.
        wanted=0.9,
    )
    return mutation.main(["--all", "--survivors", str(SURVIVORS), *given], project)


if __name__ == "__main__":
    sys.exit(main())
