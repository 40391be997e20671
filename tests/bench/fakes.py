"""Frameworks that measure nothing: small files that stand in for PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

from minires.bench import Side

# Each turn is written to a log; what a side does wrong is in WRONG.
FAKE = """
import os, signal, time
NAME, LOG, WRONG = {name!r}, {log!r}, {wrong!r}

def log(what):
    with open(LOG, "a") as file:
        file.write(NAME + " " + what + "\\n")

def setup(threads):
    if WRONG == "absent":
        raise ModuleNotFoundError("No module named 'torch'")
    print("a library that prints", flush=True)
    os.write(1, b"on the file descriptor too\\n")
    log("pid " + str(os.getpid()))
    return {{NAME: "9.9", "threads": str(threads), "omp": os.environ["OMP_NUM_THREADS"]}}

def network(spec, inputs):
    step, _ = conv(spec, inputs)
    return step, 11 if WRONG == "parameters" else 10

def conv(spec, inputs):
    log("prepare")
    def step():
        log("step")
        if WRONG == "raise":
            raise ValueError("first line\\nno luck today")
        if WRONG == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if WRONG == "last words":
            os.write(2, b"Traceback\\nFatal: out of cheese\\n")
            os._exit(3)
        if WRONG == "hang":
            time.sleep(600)
    return step, None

pool = norm = chain = conv

def convolve(x, weight, grad_out, stride, padding):
    shift = 1e-3 if WRONG == "another" else 0.0
    return grad_out + shift, x + shift, weight + shift
"""


def fake_side(folder: Path, name: str = "pytorch", wrong: str = "") -> Side:
    """A side that logs its turns to ``folder/log``."""
    script = folder / f"{name}_{wrong.replace(' ', '_')}.py"
    script.write_text(FAKE.format(name=name, log=str(folder / "log"), wrong=wrong))
    label = {"pytorch": "PyTorch", "chainer": "Chainer"}.get(name, name)
    return Side(name, label, "json", script=str(script))


def fake_python(folder: Path, wrong: str = "") -> Path:
    """A program for ``--python`` that runs the worker with the fake side."""
    program = folder / "python_with_torch"
    script = fake_side(folder, "pytorch", wrong).script
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$1" "{script}"\n')
    program.chmod(0o755)
    return program


def turns(folder: Path) -> list[str]:
    """What the fake sides did, but for their process ids."""
    lines = (folder / "log").read_text().splitlines()
    return [line for line in lines if " pid " not in line]
