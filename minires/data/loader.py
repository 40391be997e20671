"""Batches in order, or shuffled by a generator that nobody else draws from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minires.autograd import Tensor
from minires.data.prefetch import prefetch as made_ahead
from minires.data.transfer import sent_ahead
from minires.device import known_device
from minires.errors import ContractError, DataError, ShapeError, UsageError, describe
from minires.rng import check_seed

__all__ = ["Augment", "DataLoader"]

Augment = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]


@dataclass(eq=False)
class _Epoch:
    """What was drawn for one epoch, and how far it has come."""

    start: dict[str, Any]  # the state of the generator before the draws
    order: NDArray[np.integer]  # (N,)
    augment_seed: int
    position: int  # batches handed out


class DataLoader:
    """Walks over (images, labels) in batches, once for each ``for`` loop.

    Every epoch that is started draws one new order, so the order of epoch k depends on the seed
    and on k alone: not on the batch size, not on whether earlier epochs were walked to their end,
    and not on any other random number drawn anywhere.  With ``augment`` one more number is drawn
    after the order, so that later epochs come in another order than without: it and i seed the
    generator that batch i of the epoch is augmented with.

    Args:
        arrays: the pair (images, labels), both of length N along their first dimension, such as
            ``dataset.train``.  Whole-number images become float32, other dtypes stay.
        batch_size: images in a batch; the last one is smaller where N leaves a remainder.
        shuffle: a new random order each epoch, instead of the stored one.
        drop_last: leave out the smaller last batch (batch normalisation on very few images is
            noisy, and on one value fails).
        seed: where the loader's own generator starts; None means 0.
        generator: a generator to draw from instead; whoever shares it changes the order.
        augment: ``augment(images, generator) -> images`` on the array of a batch (B, ...), such as
            :class:`~minires.data.PadCropFlip`; it may write into what it is given.
        prefetch: how many batches a thread makes ahead while one is being used; 0 means none, and
            no thread.  The batches have the same bits.
        device: 'cuda' or 'cuda:1' for batches on a GPU; None is 'cpu'.  Images and labels get there
            in one copy, from page-locked memory and beside the work of the GPU; those that a thread
            makes ahead are also sent ahead.  Nobody waits for a copy but the stream that is current
            when the batch is handed out.  A walk should be made on one stream: the batches are
            memory of the one that is current when it begins.

    Yields pairs of Tensors, images (B, ...) and labels (B,), on fresh contiguous arrays: a batch
    may be changed without touching the data.  A batch costs one copy of its images.

    Raises ShapeError for arrays of different lengths; DataError for empty ones; UsageError for a
    batch_size that is no whole number from 1 to N, a prefetch that is none from 0 on, a negative
    seed, an augment that cannot be called, and for both a seed and a generator; DeviceError for a
    device that is not there; and during the walk ContractError for an augment that changes the
    number or the dtype of the images.

    >>> images, labels = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> [y.numpy().tolist() for _, y in DataLoader((images, labels), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> loader = DataLoader((images, labels), batch_size=2, shuffle=True, drop_last=True, seed=1)
    >>> len(loader), sum(len(y.data) for _, y in loader)
    (2, 4)
    """

    def __init__(
        self,
        arrays: tuple[ArrayLike, ArrayLike],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        *,
        seed: int | None = None,
        generator: np.random.Generator | None = None,
        augment: Augment | None = None,
        prefetch: int = 0,
        device: str | None = None,
    ) -> None:
        images, labels = (np.asarray(array) for array in arrays)
        if not images.ndim or not labels.ndim or len(images) != len(labels):
            raise ShapeError(
                "DataLoader: images and labels must have one length along their first"
                " dimension.\n  " + describe(images=images, labels=labels)
            )
        if not len(images):
            raise DataError("DataLoader: there are no images, so there is nothing to walk over.")
        batch_size = _check_whole("batch_size", batch_size, least=1)
        if batch_size > len(images):
            raise UsageError(
                f"DataLoader: batch_size {batch_size} is larger than the data ({len(images)}"
                f" images); use a batch_size of at most {len(images)}."
            )
        if seed is not None and generator is not None:
            raise UsageError("DataLoader: give a seed or a generator, not both.")
        if augment is not None and not callable(augment):
            raise UsageError(
                "DataLoader: augment must be a function of (images, generator), such as"
                f" PadCropFlip(), got {augment!r}."
            )
        if not np.issubdtype(images.dtype, np.inexact):
            images = images.astype(np.float32)
        self.images: NDArray[Any] = images
        self.labels: NDArray[Any] = labels
        self.batch_size = batch_size
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        if generator is None:
            seed = 0 if seed is None else check_seed(seed, "DataLoader")
            generator = np.random.default_rng(seed)
        self._generator = generator
        self.augment = augment
        self.prefetch = _check_whole("prefetch", prefetch, least=0)
        self.device = known_device(device)
        self._epoch: _Epoch | None = None  # the last one that was started, until its end
        self._resume_at = 0  # the batch at which the next epoch begins

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Drawn here, not in _batches, which runs only once the first batch is asked for.
        generator, N = self._generator, len(self.images)
        self._epoch = _Epoch(
            start=_plain(generator.bit_generator.state),
            order=generator.permutation(N) if self.shuffle else np.arange(N),
            augment_seed=int(generator.integers(2**63)) if self.augment is not None else 0,
            position=self._resume_at,
        )
        self._resume_at = 0
        return self._batches(self._epoch)

    def _batches(self, epoch: _Epoch) -> Iterator[tuple[Tensor, Tensor]]:
        make, numbers = partial(self._batch, epoch), range(epoch.position, len(self))
        if self.device == "cpu":
            batches = made_ahead(make, numbers, self.prefetch)
        else:
            batches = sent_ahead(make, numbers, self.prefetch, self.device)
        with closing(batches):
            for images, labels in batches:
                epoch.position += 1
                yield Tensor(images), Tensor(labels)
        if self._epoch is epoch:  # no other was started meanwhile
            self._epoch = None

    def _batch(self, epoch: _Epoch, i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Batch ``i`` of an epoch: it depends on the two alone, so it can be made at any time."""
        index = epoch.order[i * self.batch_size : (i + 1) * self.batch_size]
        images, labels = np.take(self.images, index, axis=0), np.take(self.labels, index, axis=0)
        if self.augment is None:
            return images, labels
        augmented = self.augment(images, np.random.default_rng((epoch.augment_seed, i)))
        shape, dtype = getattr(augmented, "shape", ()), getattr(augmented, "dtype", None)
        if shape[:1] != labels.shape[:1] or dtype != images.dtype:
            raise ContractError(
                f"DataLoader: augment must return as many images as it was given, of their dtype;"
                f" {self.augment!r} did not.\n  " + describe(given=images, returned=augmented)
            )
        return np.ascontiguousarray(augmented), labels

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, as plain data that JSON can hold.

        ``generator`` is the state of the generator at the start of the epoch in progress, and
        ``position`` the number of its batches that were handed out; those that a thread has made
        ahead do not count.  Between two epochs they are the present state and 0.  After the last
        batch, and before the ``for`` loop has found that there is no other, the epoch is still in
        progress.  The rest are the settings that a loader must share to go on from there.

        >>> arrays = np.zeros((6, 1)), np.arange(6)
        >>> loader = DataLoader(arrays, batch_size=2, shuffle=True, seed=3)
        >>> batches = iter(loader)
        >>> _ = next(batches)
        >>> state = loader.state_dict()
        >>> state["position"], state["images"], state["batch_size"]
        (1, 6, 2)
        >>> resumed = DataLoader(arrays, batch_size=2, shuffle=True)
        >>> resumed.load_state_dict(state)
        >>> [y.numpy().tolist() for _, y in resumed] == [y.numpy().tolist() for _, y in batches]
        True
        """
        epoch = self._epoch
        if epoch is None:
            start, position = _plain(self._generator.bit_generator.state), self._resume_at
        else:
            start, position = dict(epoch.start), epoch.position
        return {"generator": start, "position": position, **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``: the next ``for`` yields the batches that were left of its epoch.

        They have the same images in the same order, augmented in the same way, bit for bit, and so
        have all later epochs.  A loop that is still open in this loader goes on as it was, but the
        state no longer tells of it.

        Raises UsageError for a state that :meth:`state_dict` did not return, or that is of a loader
        with other data or other settings; the loader is then as before.
        """
        settings = self._settings()
        missing = [
            name
            for name in ("generator", "position", *settings)
            if not isinstance(state, Mapping) or name not in state
        ]
        if missing:
            raise UsageError(
                f"DataLoader: this is no state of a DataLoader, for it has no {missing[0]};"
                " load one that state_dict() returned."
            )
        for name, own in settings.items():
            if state[name] != own:
                raise UsageError(
                    f"DataLoader: the state is of a loader with {name} {state[name]!r}, and this"
                    f" one has {name} {own!r}; load it into a loader made in the same way."
                )
        position = state["position"]
        if type(position) is not int or not 0 <= position <= len(self):
            raise UsageError(
                f"DataLoader: position must be a whole number from 0 to the {len(self)} batches of"
                f" an epoch, got {position!r}."
            )
        bits = self._generator.bit_generator
        before = bits.state
        try:
            bits.state = dict(state["generator"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            bits.state = before
            raise UsageError(
                f"DataLoader: this is no state of a {type(bits).__name__} generator; load one that"
                " state_dict() returned."
            ) from error
        self._epoch, self._resume_at = None, position

    def _settings(self) -> dict[str, Any]:
        """What the batches of an epoch depend on, besides the generator and the images."""
        return {
            "images": len(self.images),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "augment": self.augment is not None,
        }

    def __repr__(self) -> str:
        order = "shuffled" if self.shuffle else "in order"
        return (
            f"DataLoader({len(self.images)} images {order}, {len(self)} batches of"
            f" {self.batch_size}{', the smaller last one dropped' if self.drop_last else ''}"
            f"{'' if self.device == 'cpu' else f', to {self.device}'})"
        )


def _check_whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int; UsageError unless it is a whole number from ``least`` on."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UsageError(
            f"DataLoader: {name} must be a whole number, got {value!r}; "
            "write int(...) or // for a division."
        )
    if value < least:
        raise UsageError(f"DataLoader: {name} must be at least {least}, got {value}.")
    return int(value)


def _plain(state: Any) -> Any:
    """The state of a bit generator, its arrays (some kinds have them) as lists."""
    if isinstance(state, Mapping):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
