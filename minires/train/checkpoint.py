"""A network in a file: its weights, what is needed to build it again, and to train it further.

The file is a NumPy archive (.npz) of plain arrays: ``weights/<name>`` for each parameter and
buffer, ``optimizer/...`` for a run that is to go on, and ``about``, a text in JSON.  Nothing in it
is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minires import models, nn
from minires.device import to_numpy
from minires.errors import DataError, MiniresError, UsageError
from minires.files import write_whole
from minires.models.resnet import ResNet
from minires.saving.npz import npz_bytes, read_npz
from minires.saving.weights import WEIGHTS, weights_of
from minires.train.loop import Training

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = "minires checkpoint 2"
_SMALL = 64  # a depth or width that does no harm
_OWN = ("format", "network", "block_numbers", "training")
_NUMBERS = ("skip_scale", "survival_probability")


class Checkpoint(NamedTuple):
    """A network as it was saved, and what was written down with it.

    ``training`` is what :meth:`Training.load_state_dict` takes; None if none was saved.
    """

    model: ResNet
    about: dict[str, Any]
    training: dict[str, Any] | None = None


def save_checkpoint(
    file: str | Path, model: ResNet, *, training: Training | None = None, **about: Any
) -> Path:
    """Write ``model`` to ``file``, whole or not at all.

    Args:
        file: its name; .npz by custom.
        model: a network of :mod:`minires.models` that knows how it was built.
        training: the run that trains it, to be gone on with later.
        about: what else to write down, as JSON can hold it: data, epochs, seed, ...

    Returns:
        Where it was written.

    Raises:
        UsageError: it cannot be written, the model is of another kind, or JSON cannot hold what is
            to be noted.

    >>> import tempfile, minires as mr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = save_checkpoint(f"{folder}/a.npz", mr.models.cifar_resnet(8, width=2), epochs=0)
    ...     load_checkpoint(file).about["epochs"]
    0
    """
    if not isinstance(model, ResNet) or model.options is None:
        raise UsageError(
            f"save_checkpoint: a {type(model).__name__} does not know how it was built; it takes "
            "the networks of minires.models. For others save the weights alone, mr.save(model, "
            "file)."
        )
    if training is not None and training.model is not model:
        raise UsageError("save_checkpoint: the run trains another network than the one to save.")
    for name in about.keys() & set(_OWN):
        raise UsageError(f"save_checkpoint: {name!r} is written by save_checkpoint itself.")
    if training is None:
        state: dict[str, Any] = {"plain": None}
        arrays = {WEIGHTS + name: to_numpy(a) for name, a in model.state_dict().items()}
    else:
        state = training.state_dict()
        arrays = state["arrays"]
    network = {"network": models.describe(model), "block_numbers": _block_numbers(model)}
    try:
        json.dumps(about, allow_nan=False)
        # A run that diverged has a nan in its history, which Python's JSON writes and reads.
        text = json.dumps({"format": FORMAT, **about, **network, "training": state["plain"]})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"save_checkpoint: JSON cannot hold what is to be noted ({error})."
        ) from None
    # Weights are noise to a compressor: it takes longer than a training step to win a tenth.
    content = npz_bytes({"about": np.array(text), **arrays}, compress=False)
    path = Path(file)
    return write_whole(path.parent, {path.name: content})[0]


def load_checkpoint(file: str | Path) -> Checkpoint:
    """Build the network that :func:`save_checkpoint` wrote to ``file``, on the CPU.

    The default generator is left as it was.

    Raises:
        DataError: there is no such file, or it is damaged or something else; the message says why.
    """
    try:
        arrays = read_npz(file)
    except DataError as error:
        raise _unreadable(file, str(error).removeprefix(f"{str(file)!r} ")) from None
    about = _about(file, arrays)
    numbers, plain = about.pop("block_numbers"), about.pop("training")
    network = about.pop("network")
    try:
        _check_size(network, arrays)
        model = models.rebuild(network)
        if any(array.dtype == np.float64 for array in arrays.values()):
            model.to("float64")
        _set_block_numbers(model, numbers)
        model.load_state_dict(weights_of(arrays))
    except (MiniresError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(file, error) from None
    return Checkpoint(model, about, None if plain is None else {"arrays": arrays, "plain": plain})


def _check_size(network: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError if the file speaks of a network much larger than the weights it holds."""
    first = arrays.get(f"{WEIGHTS}conv1.weight")
    limits = {"width": len(first) if first is not None and first.ndim else 0, "depth": len(arrays)}
    for name, limit in limits.items():
        said = network.get(name)
        if isinstance(said, int) and said > max(limit, _SMALL):
            raise ValueError(f"it speaks of {name} {said}, and has weights of at most {limit}")


def _block_numbers(model: nn.Module) -> dict[str, dict[str, float]]:
    """What a twin may have changed in each block; what is learned is among the weights."""
    return {
        name: {n: getattr(m, n) for n in _NUMBERS if isinstance(getattr(m, n), int | float)}
        for name, m in model.named_modules()
        if isinstance(m, nn.ResidualBlock)
    }


def _set_block_numbers(model: nn.Module, numbers: Mapping[str, Mapping[str, float]]) -> None:
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, nn.ResidualBlock)}
    for name, values in numbers.items():
        if name not in blocks or not values.keys() <= set(_NUMBERS):
            raise ValueError(f"it has {sorted(values)} of {name!r}, and the network has no such")
        for number, value in values.items():
            setattr(blocks[name], number, float(value))


def _about(file: str | Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    if "about" not in arrays:
        raise _unreadable(file, "it has no entry 'about'")
    try:
        about: Any = json.loads(str(arrays["about"][()]))
    except (ValueError, RecursionError):
        raise _unreadable(file, "its entry 'about' is no JSON") from None
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise _unreadable(file, f"its format is {found!r}, and {FORMAT!r} is needed")
    if not isinstance(about.get("network"), dict):
        raise _unreadable(file, "it does not say which network it holds")
    if not isinstance(about.setdefault("block_numbers", {}), dict):
        raise _unreadable(file, "its block_numbers are none by name")
    about.setdefault("training", None)
    return dict(about)


def _unreadable(file: str | Path, reason: object) -> DataError:
    return DataError(f"{str(file)!r} is not a checkpoint that can be read: {reason}")
