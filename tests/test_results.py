"""docs/results.md says what docs/results.json holds, which the training runs wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.proofs.results import DEGRADATION, EPOCHS, RUNS, degradation_table, remedies_table

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "results.md").read_text()
RESULTS: dict[str, Any] = json.loads((DOCS / "results.json").read_text())


def test_every_run_is_there_and_was_trained_to_its_end() -> None:
    assert list(RESULTS) == list(RUNS)
    assert {run["epoch"][-1] for run in RESULTS.values()} == {EPOCHS}


@pytest.mark.parametrize("table", [degradation_table, remedies_table])
def test_the_tables_are_those_of_the_stored_runs(table: Any) -> None:
    assert table(RESULTS) in TEXT


def test_the_commands_in_the_text_are_those_that_were_run() -> None:
    commands = {re.sub(r"runs/results/\S+$", "", run["command"]) for run in RESULTS.values()}
    for command in re.findall(r"^minires train .*$", TEXT, re.MULTILINE):
        assert re.sub(r"runs/results/\S+$", "", command) in commands


def test_the_gap_between_plain_and_residual_grows_with_depth_on_both_seeds() -> None:
    """What the text says of them."""

    def gap(depth: int, seed: int) -> float:
        plain, residual = (
            RESULTS[f"{kind}{depth}-seed{seed}"]["train_error"][-1] for kind in ("plain", "resnet")
        )
        return float(plain - residual)

    assert len(DEGRADATION) == 12
    for seed in (0, 1):
        assert gap(20, seed) < gap(32, seed) < gap(56, seed)
