"""Runs killed at random moments and gone on with: ``python -m tests.proofs.kill_and_resume``.

One run is left alone.  Each of the others is killed with SIGKILL at a random moment of its life,
gone on with by the same command and --resume, killed again with probability 1/2, and gone on with
to its end.  All that it is made of must have the same bits: weights, running statistics, momentum,
generators, schedule and history.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WORDS = shlex.split(
    "train --model resnet14 --network width=4 stochastic_depth=0.8 --epochs 4 --batch-size 64 "
    "--augment --save-every 0.1"
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The command, at work on the run in ``folder``."""
    words = [sys.executable, "-m", "minires", *WORDS, "--out", str(folder), "--resume"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end, which must be a good one."""
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {err.decode()}")


def outcome(folder: Path) -> dict[str, Any]:
    """Everything in the checkpoint and in the history, but the seconds."""
    with np.load(folder / "checkpoint.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    about = json.loads(str(arrays.pop("about")))
    del about["training"]["history"]["seconds"]
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    bits = {name: array.tobytes() for name, array in arrays.items()}
    return {"bits": bits, "about": about, "history": lines}


def step_of(folder: Path) -> int | None:
    """The step of the last checkpoint; None if there is none yet."""
    try:
        with np.load(folder / "checkpoint.npz") as archive:
            return int(json.loads(str(archive["about"]))["training"]["step"])
    except FileNotFoundError:
        return None


def kill(folder: Path, moment: float) -> str:
    """Start the command, kill it after so many seconds, and say where that was."""
    process = start(folder)
    time.sleep(moment)
    process.kill()
    process.communicate()
    half = "" if not list(folder.glob(".*")) else ", a file half written"
    step = step_of(folder)
    return f"{moment:.2f} s ({'no checkpoint yet' if step is None else f'step {step}'}{half})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        finish(start(folder / "whole"))
        whole = time.monotonic() - began
        expected = outcome(folder / "whole")
        print(f"a run left alone: {whole:.1f} s, {expected['history'][-1]['step']} steps")
        for i in range(1, options.moments + 1):
            own = folder / str(i)
            killed = [kill(own, draw.uniform(0.0, whole))]
            if draw.random() < 0.5:
                killed.append(kill(own, draw.uniform(0.0, whole)))
            finish(start(own))
            same = outcome(own) == expected
            left = [path.name for path in own.glob(".*")]
            wrong += not same or bool(left)
            verdict = "the same bits" if same else "OTHER BITS"
            print(f"[{i}] killed at {' and '.join(killed)}: {verdict}{left or ''}", flush=True)
    print(f"{options.moments - wrong} of {options.moments} ended with the same bits")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
