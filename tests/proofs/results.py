"""The long training runs behind docs/results.md: ``python -m tests.proofs.results``.

Each run is one ``minires train`` command on one thread, two at a time; a run that is finished is
not run again, and one that was interrupted is gone on with.  The tables and the figure are made of
what is finished.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from minires.experiments.run import CHECKPOINT
from minires.train import load_checkpoint
from minires.viz import figure_png, style
from minires.viz.canvas import new_figure

DOCS = Path(__file__).parents[2] / "docs"
EPOCHS = 10

COMMON = (
    f"--data fashion-mnist-full --train-images 10000 --epochs {EPOCHS} --batch-size 64 "
    "--evaluate-every 5 --save-every 60"
)
DEGRADATION = {
    f"{kind}{depth}-seed{seed}": f"--model {kind}{depth} --network width=8 --seed {seed}"
    for seed in (0, 1)
    for depth in (20, 32, 56)
    for kind in ("plain", "resnet")
}
# At depth 56, seed 0; plain and residual with shortcut A are among the runs above.
REMEDIES = {
    "auxiliary": "--model plain56 --network width=8 aux_heads=2",
    "construction": "--model plain56 --network width=8 "
    "--deepen {folder}/plain20-seed0/checkpoint.npz",
    "shortcut-B": "--model resnet56 --network width=8 shortcut=B",
    "shortcut-C": "--model resnet56 --network width=8 shortcut=C",
    "preactivation": "--model preresnet56 --network width=8",
    "zero-init": "--model resnet56 --network width=8 zero_init_residual=True",
    "skipinit": "--model resnet56 --network width=8 norm=None branch_scale=0.0",
    "fixup": "--model resnet56 --network width=8 norm=None fixup=True --lr 0.03",
}
RUNS = DEGRADATION | REMEDIES
TITLES = {
    "plain56-seed0": "plain",
    "auxiliary": "plain, two auxiliary classifiers",
    "construction": "plain by construction, from plain-20",
    "resnet56-seed0": "residual, shortcut A (zero padding)",
    "shortcut-B": "residual, shortcut B (projection where dimensions grow)",
    "shortcut-C": "residual, shortcut C (projections everywhere)",
    "preactivation": "residual, pre-activation",
    "zero-init": "residual, branches start at zero",
    "skipinit": "residual without batch norm, SkipInit",
    "fixup": "residual without batch norm, Fixup, rate 0.03",
}


def command(name: str, folder: Path) -> list[str]:
    """The arguments of ``minires train`` for the run of this name."""
    text = f"{RUNS[name].format(folder=folder)} {COMMON}"
    return ["train", *shlex.split(text), "--out", str(folder / name)]


def run(name: str, folder: Path) -> int:
    """Run it, or go on with it; its messages go to a file in its folder."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / name / "log.txt").open("a") as log:
        return subprocess.run(
            [sys.executable, "-m", "minires", *command(name, folder), "--resume"],
            env={**os.environ, "MINIRES_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        ).returncode


def summary(folder: Path) -> dict[str, Any]:
    """What is kept of the runs that are finished: settings and history, but not the times."""
    found: dict[str, Any] = {}
    for name in RUNS:
        file = folder / name / "history.jsonl"
        lines = (
            [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        )
        if not lines or lines[-1]["epoch"] < EPOCHS:
            continue
        parameters = sum(
            parameter.numel()
            for parameter in load_checkpoint(file.with_name(CHECKPOINT)).model.parameters()
        )
        kept = ("epoch", "step", "lr", "batch_error", "train_error", "test_error", "train_loss")
        found[name] = {
            "command": shlex.join(["minires", *command(name, Path("runs/results"))]),
            "parameters": parameters,
            **{key: [line[key] for line in lines] for key in kept},
        }
    return found


def degradation_table(found: Mapping[str, Any]) -> str:
    """Training and test error of plain and residual networks by depth and seed, in Markdown."""
    rows = [
        "| depth | seed | plain: training | residual: training | gap | plain: test "
        "| residual: test |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed in (0, 1):
        for depth in (20, 32, 56):
            pair = [found.get(f"{kind}{depth}-seed{seed}") for kind in ("plain", "resnet")]
            if None in pair:
                continue
            train, test = ([run[key][-1] for run in pair] for key in ("train_error", "test_error"))
            rows.append(
                f"| {depth} | {seed} | {train[0]:.2f} | {train[1]:.2f} "
                f"| {train[0] - train[1]:+.2f} | {test[0]:.2f} | {test[1]:.2f} |"
            )
    return "\n".join(rows)


def remedies_table(found: Mapping[str, Any]) -> str:
    """The remedies at depth 56, in Markdown."""
    rows = [
        "| network | parameters | training error | test error | error of the last epoch's batches |"
    ]
    rows.append("|---|---|---|---|---|")
    for name, title in TITLES.items():
        if (run := found.get(name)) is None:
            continue
        rows.append(
            f"| {title} | {run['parameters']:,} | {run['train_error'][-1]:.2f} "
            f"| {run['test_error'][-1]:.2f} | {run['batch_error'][-1]:.2f} |"
        )
    return "\n".join(rows)


def draw(found: Mapping[str, Any], file: Path) -> None:
    """The error over each epoch's batches, against the steps, one panel a seed."""
    style.import_matplotlib()
    with style.context():
        figure = new_figure(11.0, 4.3)
        colors = style.depth_colors([20, 32, 56])
        panels = figure.subplots(1, 2, sharey=True)
        for seed, axes in enumerate(panels):
            for depth in (20, 32, 56):
                for kind in ("plain", "resnet"):
                    run = found.get(f"{kind}{depth}-seed{seed}")
                    if run is None:
                        continue
                    axes.plot(
                        run["step"],
                        run["batch_error"],
                        color=colors[depth],
                        linestyle="--" if kind == "plain" else "-",
                        marker="o" if kind == "plain" else "s",
                        markerfacecolor="white" if kind == "plain" else colors[depth],
                        label=f"{'plain' if kind == 'plain' else 'residual'}-{depth}",
                    )
            axes.set_title(f"Seed {seed}", loc="left")
            axes.set_xlabel("steps")
            axes.set_yscale("log")
            axes.set_yticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"])
            axes.minorticks_off()
            axes.set_ylim(4.5, 95)
        panels[0].set_ylabel("error over the epoch's batches, %")
        panels[1].legend()
        file.write_bytes(figure_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/results"))
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="only write what is finished")
    options = parser.parse_args()
    if not options.report:
        _train(options.only, options.folder, options.jobs)
    found = summary(options.folder)
    (DOCS / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, DOCS / "images" / "results.png")
    print(degradation_table(found), remedies_table(found), sep="\n\n")


def _train(names: list[str], folder: Path, jobs: int) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        codes = pool.map(lambda name: run(name, folder), names)
        for name, code in zip(names, codes, strict=True):
            print(f"{name}: exit code {code}", flush=True)


if __name__ == "__main__":
    main()
