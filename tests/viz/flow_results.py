"""Results of ``minires flow``, made up from a formula: no network runs in the tests of the page."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]

RECORDED = ("skip_norm", "branch_norm", "share", "cosine", "grad_norm", "grad_rms", "forward_ratio")


def make_ledger(kind: str, count: int, slope: float) -> dict[str, Any]:
    """Norms that grow by ``slope`` with each block on the way back to the stem."""
    stage = count // 3
    entries = []
    for i in range(count):
        norm = 0.04 * slope ** (count - 1 - i)
        skip, branch = (None, norm) if kind == "plain" else (0.7 * norm, 0.5 * norm)
        entries.append(
            {
                "name": f"layer{1 + i // stage}.{i % stage}",
                "kind": kind,
                "skip_norm": skip,
                "branch_norm": branch,
                "share": None if skip is None else 7 / 12,
                "cosine": None if skip is None else 0.01 * i,
                "forward_ratio": None if skip is None else 0.3 + 0.01 * i,
                "grad_rms": norm / 64,
                "grad_norm": norm,
                "error": 0.0,
            }
        )
    return {"loss": 2.3, "max_error": 0.0, "blocks": entries}


def make_recording(kind: str, count: int, steps: int) -> dict[str, Any]:
    ledgers = [make_ledger(kind, count, 1.3 - 0.1 * s)["blocks"] for s in range(steps)]
    return {
        "steps": [10 * s for s in range(steps)],
        "loss": [2.3 / (1 + s) for s in range(steps)],
        "blocks": {
            "name": [entry["name"] for entry in ledgers[0]],
            **{key: [[e[key] for e in entries] for entries in ledgers] for key in RECORDED},
        },
        "layers": {},
    }


def make_network(kind: str, depth: int, *, trained: bool, steps: int) -> dict[str, Any]:
    count = (depth - 2) // 2
    stage = count // 3
    slopes = {"plain": (1.3, 0.9), "residual": (1.05, 1.01)}[kind]
    moments = {"initial": {"ledger": make_ledger(kind, count, slopes[0])}}
    if trained:
        moments["trained"] = {"ledger": make_ledger(kind, count, slopes[1])}
    blocks = [
        {
            "name": f"layer{1 + i // stage}.{i % stage}",
            "shape": [8 << i // stage, 8 >> i // stage, 8 >> i // stage],
            "shortcut": "none"
            if kind == "plain"
            else "padding"
            if i and i % stage == 0
            else "identity",
        }
        for i in range(count)
    ]
    return {
        "name": f"{kind}-{depth}",
        "kind": kind,
        "depth": depth,
        "parameters": 1000 * depth,
        "stem": "conv1",
        "head": "fc",
        "blocks": blocks,
        "moments": moments,
        "recording": make_recording(kind, count, steps) if steps else None,
    }


def make_results(
    depth: int = 20,
    kinds: tuple[str, ...] = ("plain", "residual"),
    *,
    trained: bool = True,
    steps: int = 3,
) -> Results:
    return {
        "config": {"model": f"resnet{depth}", "data": "digits", "batch_size": 64, "seed": 0},
        "environment": {"minires": "0.1.0", "python": "3.12.1"},
        "networks": [make_network(kind, depth, trained=trained, steps=steps) for kind in kinds],
    }
