"""Proof: minires equals PyTorch on every sample of PyTorch's own operator database.

    python -m tests.proofs.operator_database [--op NAME] [--verbose]

PyTorch tests itself with ``torch.testing._internal``: for each operation and layer a list of
samples, of references, and of calls that must be refused.  Those of all that minires offers are run
in both, in float64 and float32: values, what changes in place, gradients by all inputs, and second
gradients; and the values of whole numbers and booleans.  A sample ends as

    equal     the same shapes, dtypes and numbers
    refused   an error that minires raises on purpose, or Python's for an argument that is not there
    WRONG     anything else

and a call that PyTorch refuses as refused, as taken (on purpose), or as WRONG.  The command fails
if anything is wrong.  It needs torch 2.13 and expecttest, and takes a minute.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from minires.errors import UsageError
from minires.table import format_table
from tests.proofs.both import Call, Outcome, run
from tests.proofs.samples import (
    calls_of_layer,
    calls_of_operation,
    entries,
    layers,
    without_sample,
)

__all__ = ["main"]

DTYPES = (torch.float64, torch.float32, torch.int64, torch.bool)
COLUMNS = ("sample equal", "sample refused", "sample WRONG")
ERROR_COLUMNS = ("error refused", "error taken", "error WRONG")

Calls = Callable[[torch.dtype], Iterator[Call]]


def main() -> int:
    """Run the samples and print the table; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--op", help="only this one: F.conv2d, conv2d, Tensor.view, nn.Linear")
    parser.add_argument("--verbose", action="store_true", help="print each wrong call as it comes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the samples hold numbers that both frameworks warn of

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    notes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for label, calls in tqdm(chosen(arguments.op), unit="entry", disable=None):
        for call in (call for dtype in DTYPES for call in calls(dtype)):
            outcome = run(call)
            what = f"{'error' if call.must_fail else 'sample'} {outcome.verdict}"
            counts[label][what] += 1
            if outcome.note:
                notes[what][label, brief(outcome)] += 1
            if arguments.verbose and outcome.verdict == "WRONG":
                tqdm.write(
                    f"{label}{described(call.args)} {described(call.kwargs)}: {outcome.note}"
                )
    report(counts, notes)
    if not arguments.op:
        print("\nWithout a sample in the databases:", ", ".join(without_sample()))
    return int(any(c["sample WRONG"] + c["error WRONG"] for c in counts.values()))


def chosen(name: str | None) -> list[tuple[str, Calls]]:
    """The entries to run, with what makes their calls."""
    jobs: list[tuple[str, Calls]] = [
        (label, partial(calls_of_operation, label, entry))
        for label, found in entries().items()
        for entry in found
    ]
    jobs += [(label, partial(calls_of_layer, info)) for label, info in layers()]
    if name is None:
        return jobs
    jobs = [job for job in jobs if name in (job[0], job[0].split(".")[-1])]
    if not jobs:
        raise UsageError(f"--op {name}: minires or the databases have no such operation.")
    return jobs


def brief(outcome: Outcome) -> str:
    """The note; of an error its first line, without the numbers that differ from call to call."""
    if outcome.verdict != "refused":
        return outcome.note
    return re.sub(r"-?\d[\d.]*(, )?(?!d\b)", "#", outcome.note.splitlines()[0]).replace("##", "#")


def described(value: Any) -> str:
    """Arguments with the shapes of their tensors."""
    if torch.is_tensor(value):
        return f"{tuple(value.shape)} {value.dtype}".replace("torch.", "")
    if isinstance(value, tuple | list):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, dict):
        return ", ".join(f"{key}={described(item)}" for key, item in value.items())
    return repr(value)


def report(counts: dict[str, Counter[str]], notes: dict[str, Counter[tuple[str, str]]]) -> None:
    """The table, and beneath it the notes, the commonest first."""
    rows: list[list[Any]] = []
    for label, count in sorted(counts.items()):
        results = [count[column] for column in COLUMNS]
        rows.append([label, sum(results), *results, *(count[column] for column in ERROR_COLUMNS)])
    rows.append(["together", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    errors = ("errors refused", "taken", "WRONG ")
    print(format_table(["operation", "samples", "equal", "refused", "WRONG", *errors], rows))
    for what in (*COLUMNS, *ERROR_COLUMNS[1:]):
        grouped: dict[str, Counter[str]] = defaultdict(Counter)
        for (label, note), count in notes[what].items():
            grouped[note][label] += count
        if grouped:
            print(f"\n{what}:")
        for note, by in sorted(grouped.items(), key=lambda pair: -pair[1].total()):
            where = ", ".join(f"{label} {count}" for label, count in by.items())
            print(f"{by.total():6}  {note}  [{where}]")


if __name__ == "__main__":
    sys.exit(main())
