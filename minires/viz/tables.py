"""The table of a comparison: one row for each kind and depth."""

from __future__ import annotations

import math
from collections.abc import Iterable

from minires.table import NOT_MEASURED
from minires.viz.groups import Group, Run, group_runs

__all__ = ["summary_rows"]


def summary_rows(runs: Iterable[Run]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the comparison: one row for each kind and depth.

    With several seeds a value is the mean and, after ±, the sample standard deviation, and a
    column says how many seeds there were.  Seeds whose value is not a finite number stay out of
    both; the cell then says how many are in.

    >>> run = {"kind": "plain", "depth": 20, "parameters": 68000, "train_loss": 0.12,
    ...        "train_error": 1.2, "test_error": 3.4, "seconds": 8.1}
    >>> summary_rows([run])[1]
    [['plain', '20', '68,000', '0.1200', '1.20', '3.40', '8.1']]
    """
    groups = group_runs(runs)
    several = any(len(group.runs) > 1 for group in groups)
    headers = ["kind", "depth", "parameters"]
    headers += ["seeds"] if several else []
    headers += ["training loss", "training error (%)", "test error (%)", "seconds"]
    rows = []
    for group in groups:
        parameters = group.runs[0].get("parameters")
        row = [group.kind, str(group.depth)]
        row.append(NOT_MEASURED if parameters is None else f"{parameters:,}")
        row += [str(len(group.runs))] if several else []
        row += [
            _spread_text(group, key, digits)
            for key, digits in (("train_loss", 4), ("train_error", 2), ("test_error", 2))
        ]
        row.append(_spread_text(group, "seconds", 1))
        rows.append(row)
    return headers, rows


def _spread_text(group: Group, key: str, digits: int) -> str:
    values = group.values(key)
    measured = sum(run.get(key) is not None for run in group.runs)
    if not values:
        return "diverged" if measured else NOT_MEASURED
    mean = sum(values) / len(values)
    text = f"{mean:.{digits}f}"
    if len(values) > 1:
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
        text += f" ± {deviation:.{digits}f}"
    seeds = len(group.runs)
    return text if len(values) == seeds else f"{text} ({len(values)} of {seeds})"
