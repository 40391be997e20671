"""The mutants of CUDA sources: which there are, and that the explained ones exist."""

from __future__ import annotations

from pathlib import Path

from tests.proofs import cuda_mutation, mutation

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """\
#define EACH(i) for (int i = 0; i < 9; i += 2) \\
    total += i < 3
// i < n; __syncthreads();
__device__ int steps(int n, int step) {
    int sum = 0;
    for (int i = 0; i < n; i += step) sum += i;  // i <= n
    return sum;
}

extern "C" __global__ void kernel(float* x, int n) {
    if (packs(x) && n >= 3) __syncthreads();
    FOR_EACH(i, n) x[i] += 1;
}
"""


def test_each_kind_of_mutant_is_made_outside_comments_macros_and_steps_of_loops() -> None:
    found = cuda_mutation.mutants_of(SOURCE, "x.cu")
    assert [(mutant.function, mutant.number, mutant.change) for mutant in found] == [
        ("steps", 6, " -> if (0) "),
        ("steps", 6, "< -> <="),
        ("steps", 6, "+= -> ="),
        ("kernel", 11, "packs(x) -> true"),
        ("kernel", 11, ">= -> >"),
        ("kernel", 11, "__syncthreads(); -> ;"),
        ("kernel", 12, " -> if (0) "),
        ("kernel", 12, "+= -> ="),
    ]
    assert found[5].apply(SOURCE).splitlines()[10] == "    if (packs(x) && n >= 3) ;"


def test_every_barrier_and_every_explained_survivor_is_one_of_the_mutants() -> None:
    keys, barriers = set(), 0
    for path in sorted((ROOT / cuda_mutation.FOLDER).glob("*.cu*")):
        mutants = cuda_mutation.mutants_of(path.read_text(), path.relative_to(ROOT).as_posix())
        keys |= {mutant.key for mutant in mutants}
        found = sum(mutant.old.startswith("__sync") for mutant in mutants)
        assert found == path.read_text().count("__syncthreads()")
        barriers += found
    assert barriers >= 10
    assert mutation.explanations(cuda_mutation.SURVIVORS).keys() <= keys


def test_every_source_has_its_tests() -> None:
    for path in (ROOT / cuda_mutation.FOLDER).glob("*.cu*"):
        for stage in cuda_mutation.stages_for(path.relative_to(ROOT).as_posix()):
            assert all((ROOT / file).exists() for file in stage)
