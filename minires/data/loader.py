"""Batches in order, or shuffled by a generator that nobody else draws from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minires.autograd import Tensor
from minires.errors import DataError, ShapeError, UsageError, describe
from minires.rng import check_seed

__all__ = ["DataLoader"]


class DataLoader:
    """Walks over (images, labels) in batches, once for each ``for`` loop.

    Every epoch that is started draws one new order, so the order of epoch k depends on the seed
    and on k alone: not on the batch size, not on whether earlier epochs were walked to their end,
    and not on any other random number drawn anywhere.

    Args:
        arrays: the pair (images, labels), both of length N along their first dimension, such as
            ``dataset.train``.  Whole-number images become float32, other dtypes stay.
        batch_size: images in a batch; the last one is smaller where N leaves a remainder.
        shuffle: a new random order each epoch, instead of the stored one.
        drop_last: leave out the smaller last batch (batch normalisation on very few images is
            noisy, and on one value fails).
        seed: where the loader's own generator starts; None means 0.
        generator: a generator to draw from instead; whoever shares it changes the order.

    Yields pairs of Tensors, images (B, ...) and labels (B,), on fresh contiguous arrays: a batch
    may be changed without touching the data.  A batch costs one copy of its images.

    Raises ShapeError for arrays of different lengths; DataError for empty ones; UsageError for a
    batch_size that is no whole number from 1 to N, for a negative seed, and for both a seed and a
    generator.

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
    ) -> None:
        images, labels = (np.asarray(array) for array in arrays)
        if not images.ndim or not labels.ndim or len(images) != len(labels):
            raise ShapeError(
                "DataLoader: images and labels must have one length along their first"
                " dimension.\n  " + describe(images=images, labels=labels)
            )
        if not len(images):
            raise DataError("DataLoader: there are no images, so there is nothing to walk over.")
        size: Any = batch_size
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise UsageError(
                f"DataLoader: batch_size must be a whole number, got {batch_size!r}; "
                "write int(...) or // for a division."
            )
        if batch_size < 1:
            raise UsageError(f"DataLoader: batch_size must be at least 1, got {batch_size}.")
        if batch_size > len(images):
            raise UsageError(
                f"DataLoader: batch_size {batch_size} is larger than the data ({len(images)}"
                f" images); use a batch_size of at most {len(images)}."
            )
        if seed is not None and generator is not None:
            raise UsageError("DataLoader: give a seed or a generator, not both.")
        if not np.issubdtype(images.dtype, np.inexact):
            images = images.astype(np.float32)
        self.images: NDArray[Any] = images
        self.labels: NDArray[Any] = labels
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        if generator is None:
            seed = 0 if seed is None else check_seed(seed, "DataLoader")
            generator = np.random.default_rng(seed)
        self._generator = generator

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Drawn here, not in _batches, which runs only once the first batch is asked for.
        N = len(self.images)
        return self._batches(self._generator.permutation(N) if self.shuffle else np.arange(N))

    def _batches(self, order: NDArray[np.integer]) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size]
            yield (
                Tensor(np.take(self.images, index, axis=0)),
                Tensor(np.take(self.labels, index, axis=0)),
            )

    @property
    def generator_state(self) -> dict[str, Any]:
        """State of the loader's generator, plain numbers that JSON can hold.

        Saved between two epochs and set on a loader over the same data, it makes the next epoch
        there come in the order it would have come in here.

        >>> arrays = np.zeros((6, 1)), np.arange(6)
        >>> first = DataLoader(arrays, batch_size=6, shuffle=True, seed=3)
        >>> second = DataLoader(arrays, batch_size=6, shuffle=True)
        >>> second.generator_state = first.generator_state
        >>> [y.numpy().tolist() for _, y in first] == [y.numpy().tolist() for _, y in second]
        True
        """
        return dict(self._generator.bit_generator.state)

    @generator_state.setter
    def generator_state(self, state: Mapping[str, Any]) -> None:
        try:
            self._generator.bit_generator.state = dict(state)
        except (KeyError, TypeError, ValueError) as error:
            kind = type(self._generator.bit_generator).__name__
            raise UsageError(
                f"DataLoader: this is no state of a {kind} generator; set one that was read from"
                " generator_state."
            ) from error

    def __repr__(self) -> str:
        order = "shuffled" if self.shuffle else "in order"
        return (
            f"DataLoader({len(self.images)} images {order}, {len(self)} batches of"
            f" {self.batch_size}{', the smaller last one dropped' if self.drop_last else ''})"
        )
