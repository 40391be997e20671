"""The log of a recorder: the numbers of all blocks and layers at chosen steps of a training run.

On disk it is one compressed .npz of plain arrays, which NumPy reads by itself:

    format, steps (T,), loss (T,), max_error ()
    block_names, block_kinds (B,)     blocks.skip_norm, blocks.share, ...  (T, B)
    layer_names (L,)                  layers.std, layers.update_ratio, ... (T, L)

where nan stands for "no value": a plain block has no skip, a layer did not run at that step.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minires.errors import DataError, UsageError
from minires.files import write_whole
from minires.flow.recording_difference import Difference, Key, difference
from minires.result import Result

__all__ = ["BLOCK_COLUMNS", "LAYER_COLUMNS", "LoggedStep", "Recording"]

BLOCK_COLUMNS = (
    "skip_norm",
    "branch_norm",
    "share",
    "cosine",
    "grad_norm",
    "grad_rms",
    "forward_ratio",
)
LAYER_COLUMNS = ("mean", "std", "dead", "grad_norm", "weight_norm", "update_ratio")
FORMAT = "minires recording 1"

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class LoggedStep:
    """One recorded step, as it is logged.

    Attributes:
        step: its number, from 1.
        loss: of its batch, if it is known.
        blocks: name, kind and numbers of each block, in the order of the forward pass.
        layers: name and numbers of each layer, likewise.
        errors: of the check of each block that has one.
    """

    step: int
    loss: float | None
    blocks: list[tuple[str, str, Numbers]]
    layers: list[tuple[str, Numbers]]
    errors: list[float]


@dataclass(frozen=True, eq=False)
class Recording(Result):
    """What a :class:`minires.flow.Recorder` logged.  T steps, B blocks, L layers.

    Attributes:
        steps: the numbers of the recorded steps, from 1, rising.
        loss: (T,), of the batch of each step; nan where it was not told.
        block_names, block_kinds: of the B blocks, stem first; kinds are 'residual' and 'plain'.
        blocks: arrays (T, B) by column: skip_norm, branch_norm, share, cosine, grad_norm, grad_rms
            and forward_ratio, as :class:`minires.flow.LedgerEntry` explains them.
        layer_names: of the L layers, in the order in which they run.
        layers: arrays (T, L) by column: mean, std, dead and grad_norm, as
            :class:`minires.flow.LayerSignal` explains them; weight_norm, before the optimiser's
            step; update_ratio, |what the step changed| / weight_norm.
        max_error: the check: the largest difference, over steps and blocks, between
            |skip + branch|^2 and the square of the gradient that the engine added up at the fork
            and trained with, relative to |skip|^2 + |branch|^2.

    ``nan`` stands for "no value" in the arrays, and None in :meth:`to_dict`.
    """

    steps: tuple[int, ...]
    loss: np.ndarray
    block_names: tuple[str, ...]
    block_kinds: tuple[str, ...]
    blocks: dict[str, np.ndarray]
    layer_names: tuple[str, ...]
    layers: dict[str, np.ndarray]
    max_error: float

    figure_name = "recording_figure"

    @classmethod
    def of(cls, logged: Sequence[LoggedStep], names: Sequence[str] = ()) -> Recording:
        """The recording of these steps.  What did not run at one of them has no values there.

        ``names``, of all modules, say in which order two stand that never ran in the same pass.
        """
        blocks = [dict(zip(keyed([b[0] for b in s.blocks]), s.blocks, strict=True)) for s in logged]
        layers = [dict(zip(keyed([e[0] for e in s.layers]), s.layers, strict=True)) for s in logged]
        block_keys, layer_keys = (
            _in_order(list(map(list, passes)), names) for passes in (blocks, layers)
        )
        kinds = {key: block[1] for step in blocks for key, block in step.items()}
        return cls(
            steps=tuple(step.step for step in logged),
            loss=np.array([_number(step.loss) for step in logged], np.float64),
            block_names=tuple(name for name, _ in block_keys),
            block_kinds=tuple(kinds[key] for key in block_keys),
            blocks=_table(
                BLOCK_COLUMNS, block_keys, [{k: b[2] for k, b in step.items()} for step in blocks]
            ),
            layer_names=tuple(name for name, _ in layer_keys),
            layers=_table(
                LAYER_COLUMNS, layer_keys, [{k: e[1] for k, e in step.items()} for step in layers]
            ),
            max_error=float(np.max([error for step in logged for error in step.errors] or [0.0])),
        )

    # --- to look at ---

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a recorded step."""
        headers = ["step", "loss", "first block |g|", "last block |g|", "mean skip share"]
        return headers, [
            [step, *map(_known, (self.loss[t], *self._ends(t), self._mean_share(t)))]
            for t, step in enumerate(self.steps)
        ]

    def _ends(self, t: int) -> tuple[float, float]:
        """The norms of the gradient at the inputs of the first and the last block."""
        norms = self.blocks["grad_norm"][t]
        return (float(norms[0]), float(norms[-1])) if len(norms) else (np.nan, np.nan)

    def _mean_share(self, t: int) -> float:
        shares = self.blocks["share"][t]
        known = shares[~np.isnan(shares)]
        return float(known.mean()) if len(known) else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain data; None where there is no value."""
        return {
            "steps": list(self.steps),
            "loss": _plain(self.loss),
            "blocks": {
                "name": list(self.block_names),
                "kind": list(self.block_kinds),
                **{column: _plain(self.blocks[column]) for column in BLOCK_COLUMNS},
            },
            "layers": {
                "name": list(self.layer_names),
                **{column: _plain(self.layers[column]) for column in LAYER_COLUMNS},
            },
            "max_error": self.max_error,
        }

    def caption(self) -> str:
        """From the first recorded step to the last: loss, gradient and share; and the check."""
        count = len(self.steps)
        if not count:
            return "Nothing was recorded."
        where = f"step {self.steps[0]}"
        if count > 1:
            where = f"{count} steps from {self.steps[0]} to {self.steps[-1]}"
        names = (
            "the loss",
            "the gradient at the first block's input",
            "the mean share of the skip",
        )
        said = [
            f"{name} goes from {start:.3g} to {end:.3g}" if count > 1 else f"{name} is {start:.3g}"
            for name, start, end in zip(names, self._summary(0), self._summary(-1), strict=True)
            if not np.isnan([start, end]).all()
        ]
        check = (
            "skip + branch is not the whole gradient at every fork: something that the model does "
            "not return reads it too, or it is not finite."
        )
        if self.max_error <= 1e-3:
            how = f"within {self.max_error:.0e} of its square" if self.max_error else "exactly"
            check = f"skip + branch is the gradient trained with, {how}."
        return f"{where}: {'; '.join([*said, check])}"

    def _summary(self, t: int) -> tuple[float, float, float]:
        return float(self.loss[t]), self._ends(t)[0], self._mean_share(t)

    def compare(self, other: Recording) -> Difference:
        """What differs between two recordings, at the steps, blocks and layers both have."""
        if not isinstance(other, Recording):
            raise UsageError(
                f"Recording.compare: takes another recording, not a {type(other).__name__}; "
                "Recording.load(path) reads one."
            )
        return difference(self._tables(), other._tables(), self.steps, other.steps)

    def _tables(self) -> dict[str, tuple[list[Key], np.ndarray]]:
        """All numbers as tables: steps down, and across what each column is of."""
        blocks, layers = keyed(self.block_names), keyed(self.layer_names)
        return {
            "loss": ([("", 0)], self.loss[:, None]),
            **{f"blocks.{name}": (blocks, table) for name, table in self.blocks.items()},
            **{f"layers.{name}": (layers, table) for name, table in self.layers.items()},
        }

    # --- on disk ---

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a compressed .npz under exactly this name, whole or not at all.

        Raises UsageError if it cannot be written there; what was there then stays as it was.
        """
        path, content = Path(path), io.BytesIO()
        np.savez_compressed(content, **self._arrays())
        return write_whole(path.parent, {path.name: content.getvalue()})[0]

    def _arrays(self) -> dict[str, Any]:
        return {
            "format": np.array(FORMAT),
            "steps": np.array(self.steps, np.int64),
            "loss": self.loss,
            "max_error": np.array(self.max_error),
            "block_names": np.array(self.block_names, np.str_),
            "block_kinds": np.array(self.block_kinds, np.str_),
            "layer_names": np.array(self.layer_names, np.str_),
            **{f"blocks.{name}": table for name, table in self.blocks.items()},
            **{f"layers.{name}": table for name, table in self.layers.items()},
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read what :meth:`save` wrote.  Nothing in the file is run.

        Raises DataError, with the reason, if there is no such file, or it is damaged or another.
        """
        return _read(Path(path))


def _read(path: Path) -> Recording:
    if not path.exists():
        raise DataError(f"Recording.load: there is no file {str(path)!r}.")
    if not zipfile.is_zipfile(path):
        raise _refused(path, "it is no .npz file, or a damaged one")
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _refused(path, f"it is damaged: {error}") from None
    arrays = {name: array for name, array in held.items() if isinstance(array, np.ndarray)}
    _check(path, arrays)
    return Recording(
        steps=tuple(int(step) for step in arrays["steps"]),
        loss=arrays["loss"],
        block_names=tuple(map(str, arrays["block_names"])),
        block_kinds=tuple(map(str, arrays["block_kinds"])),
        blocks={name: arrays[f"blocks.{name}"] for name in BLOCK_COLUMNS},
        layer_names=tuple(map(str, arrays["layer_names"])),
        layers={name: arrays[f"layers.{name}"] for name in LAYER_COLUMNS},
        max_error=float(arrays["max_error"]),
    )


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise DataError unless all arrays are there, with shapes and kinds that fit each other."""
    found = str(arrays["format"]) if "format" in arrays else ""
    if found != FORMAT:
        what = f"its format is {found!r}" if found else "it holds other arrays"
        raise _refused(path, f"{what}, and not {FORMAT!r}")
    T, B, L = (
        arrays[n].size if n in arrays else 0 for n in ("steps", "block_names", "layer_names")
    )
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {
        "steps": ("i", (T,)),
        "loss": ("f", (T,)),
        "max_error": ("f", ()),
        "block_names": ("U", (B,)),
        "block_kinds": ("U", (B,)),
        "layer_names": ("U", (L,)),
        **{f"blocks.{name}": ("f", (T, B)) for name in BLOCK_COLUMNS},
        **{f"layers.{name}": ("f", (T, L)) for name in LAYER_COLUMNS},
    }
    for name, (kind, shape) in wanted.items():
        array = arrays.get(name)
        if array is None:
            raise _refused(path, f"it has no {name}")
        if array.dtype.kind != kind or array.shape != shape:
            raise _refused(path, f"{name} is {array.dtype} {array.shape} and should be {shape}")
    if (np.diff(arrays["steps"], prepend=0) < 1).any():
        raise _refused(path, "its steps do not rise from 1 on")


def _refused(path: Path, reason: str) -> DataError:
    return DataError(
        f"Recording.load: {str(path)!r} is not a recording that can be read: {reason}. "
        "Recording.save writes one."
    )


def keyed(names: Sequence[str]) -> list[Key]:
    """Names made different: a block that runs a second time in a pass has its name twice.

    >>> keyed(["a", "b", "a"])
    [('a', 0), ('b', 0), ('a', 1)]
    """
    seen: Counter[str] = Counter()
    keys = []
    for name in names:
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _in_order(passes: Sequence[Sequence[Key]], names: Sequence[str]) -> list[Key]:
    """All keys in the order in which they ran.

    A new one stands behind the one it ran behind, and before the next that is known already.  Of
    others in between, which did not run in that pass, the order of ``names`` tells.
    """
    rank = {name: i for i, name in enumerate(names)}
    order: list[Key] = []
    for keys in passes:
        place = 0
        for i, key in enumerate(keys):
            if key not in order:
                later = set(keys[i + 1 :])
                while place < len(order) and order[place] not in later:
                    if rank.get(order[place][0], -1) >= rank.get(key[0], -1):
                        break
                    place += 1
                order.insert(place, key)
            place = order.index(key) + 1
    return order


def _table(
    columns: Sequence[str], keys: Sequence[Key], logged: Sequence[dict[Key, Numbers]]
) -> dict[str, np.ndarray]:
    """An array (T, keys) for each column."""
    return {
        column: np.array(
            [[_number(step.get(key, {}).get(column)) for key in keys] for step in logged],
            np.float64,
        ).reshape(len(logged), len(keys))
        for column in columns
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _plain(array: np.ndarray) -> Any:
    """Nested lists, with None for nan."""
    plain = array.astype(object)
    plain[np.isnan(array)] = None
    return plain.tolist()
