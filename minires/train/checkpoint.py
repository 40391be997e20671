"""A trained network in a file: its weights, and what is needed to build it again.

The file is a NumPy archive (.npz) of plain arrays: ``weights/<name>`` for each parameter and
buffer, and ``about``, a text in JSON.  Nothing in it is ever unpickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minires import nn, rng
from minires.errors import DataError, MiniresError, UsageError
from minires.files import write_whole
from minires.models import CifarResNet, cifar_resnet

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT = "minires checkpoint 1"
_WEIGHTS = "weights/"
_DEEPEST = 10_000


class Checkpoint(NamedTuple):
    """A network as it was saved, and what was written down with it."""

    model: CifarResNet
    about: dict[str, Any]


def save_checkpoint(file: str | Path, model: CifarResNet, **about: Any) -> Path:
    """Write ``model`` to ``file``, whole or not at all.

    Args:
        file: its name; .npz by custom.
        model: a network of :func:`minires.models.cifar_resnet`, which knows its own options.
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
    options = getattr(model, "options", None)
    if not isinstance(model, CifarResNet) or options is None:
        raise UsageError(
            f"save_checkpoint: a {type(model).__name__} does not know how it was built; it takes "
            "the networks of models.cifar_resnet. For others save state_dict() with numpy.savez."
        )
    for name in about.keys() & {"format", "options"}:
        raise UsageError(f"save_checkpoint: {name!r} is written by save_checkpoint itself.")
    for name, block in model.named_modules():
        if isinstance(block, nn.ResidualBlock) and block.skip_scale != 1:
            raise UsageError(
                f"save_checkpoint: the skip_scale of {name} is {block.skip_scale}, and a file does "
                "not hold it: save the network itself, and scale it again by models.twin."
            )
    try:
        text = json.dumps({"format": FORMAT, **about, "options": options}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"save_checkpoint: JSON cannot hold what is to be noted ({error})."
        ) from None
    buffer = io.BytesIO()
    weights = {_WEIGHTS + name: array for name, array in model.state_dict().items()}
    np.savez_compressed(buffer, about=np.array(text), **weights)  # type: ignore[arg-type]
    path = Path(file)
    return write_whole(path.parent, {path.name: buffer.getvalue()})[0]


def load_checkpoint(file: str | Path) -> Checkpoint:
    """Build the network that :func:`save_checkpoint` wrote to ``file``.

    The default generator is left as it was.

    Raises:
        DataError: there is no such file, or it is damaged or something else; the message says why.
    """
    try:
        content = Path(file).read_bytes()
        if not content.startswith(b"PK"):
            raise _unreadable(file, "it is no .npz archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise _unreadable(file, error.strerror or error) from None
    except zipfile.BadZipFile as error:
        raise _unreadable(file, f"it is cut short or damaged ({error})") from None
    except (ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise _unreadable(file, error) from None
    about = _about(file, arrays)
    weights = {
        name.removeprefix(_WEIGHTS): array
        for name, array in arrays.items()
        if name.startswith(_WEIGHTS)
    }
    model = _built(file, about["options"])
    if any(array.dtype == np.float64 for array in weights.values()):
        model.to("float64")
    try:
        model.load_state_dict(weights)
    except MiniresError as error:
        raise _unreadable(file, error) from None
    return Checkpoint(model, about)


def _about(file: str | Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    if "about" not in arrays:
        raise _unreadable(file, "it has no entry 'about'")
    try:
        about: Any = json.loads(str(arrays["about"][()]))
    except ValueError:
        raise _unreadable(file, "its entry 'about' is no JSON") from None
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise _unreadable(file, f"its format is {found!r}, and {FORMAT!r} is needed")
    if not isinstance(about.get("options"), dict):
        raise _unreadable(file, "it does not say which network it holds")
    return dict(about)


def _built(file: str | Path, options: dict[str, Any]) -> CifarResNet:
    depth = options.get("depth")
    if not isinstance(depth, int) or not 0 < depth <= _DEEPEST:
        raise _unreadable(file, f"a network of depth {depth!r} cannot be built")
    state = rng.get_state()
    try:
        return cifar_resnet(**options)
    except (MiniresError, TypeError) as error:
        raise _unreadable(file, error) from None
    finally:
        rng.set_state(state)


def _unreadable(file: str | Path, reason: object) -> DataError:
    return DataError(f"{str(file)!r} is not a checkpoint that can be read: {reason}")
