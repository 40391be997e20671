"""How the work of a convolution is shared out: some images, and a share of the filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minires.device import Array
from minires.kernels.parallel import chunks

__all__ = ["Piece", "cut", "filters_in_groups", "in_groups", "in_one_chunk", "once_a_share"]


def in_groups(x: Array, groups: int) -> Array:
    """(n, C, H, W) as (n, G, C/G, H, W)."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def filters_in_groups(weight: Array, groups: int) -> Array:
    """(C_out, C/G, KH, KW) as (G, C_out/G, C/G, KH, KW)."""
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


class Piece(NamedTuple):
    """A piece of a convolution's work: some images, and one of several equal shares of filters."""

    images: slice
    number: int
    shares: int

    def share(self, channels: int) -> slice:
        """This piece's share of the channels of a group."""
        if self.shares == 1:  # the common case, and quick
            return slice(0, channels)
        bounds = (channels * i // self.shares for i in (self.number, self.number + 1))
        return slice(*bounds)

    def of_channels(self, array: Array, groups: int) -> Array:
        """Its images and its share of (N, C, H, W), as (n, G, channels, H, W)."""
        by_group = in_groups(array[self.images], groups)
        return by_group if self.shares == 1 else by_group[:, :, self.share(by_group.shape[2])]


# Measured: a piece of so many multiplications, half a millisecond, is worth a thread of its own.
PRODUCTS_WORTH_A_THREAD = 25_000_000
ENOUGH_PIECES = 4
FEWEST_CHANNELS = 16  # of a share: narrower products are slow


def cut(count: int, bytes_each: int, products: int, channels: int) -> list[Piece]:
    """Chunks of the batch; and shares of the filters, where a few chunks have much to multiply.

    Small images of many channels take little memory and much work: a chunk alone would keep one
    core busy.  Shares of the filters rather than single images, for they are what is large then,
    and each is read by one thread only.  The cut depends on the shapes alone.

    >>> [(piece.number, piece.shares) for piece in cut(4, 600_000, 450_000_000, 512)]
    [(0, 4), (1, 4), (2, 4), (3, 4)]
    >>> cut(4, 600_000, 1_000_000, 512)
    [Piece(images=slice(0, 4, None), number=0, shares=1)]
    """
    images = chunks(count, bytes_each)
    if not images:
        return []
    by_work = products // PRODUCTS_WORTH_A_THREAD // len(images)
    wanted = min(ENOUGH_PIECES // len(images), by_work, channels // FEWEST_CHANNELS)
    shares = max(1, wanted)
    return [Piece(chunk, number, shares) for chunk in images for number in range(shares)]


def in_one_chunk(pieces: list[Piece]) -> bool:
    """Whether every piece has all the images."""
    return len(pieces) > 0 and len(pieces) == pieces[0].shares


def once_a_share(make: Callable[[slice], Array]) -> Callable[[slice], Array]:
    """``make``, which is called once for each share of the filters, in the thread that needs it."""
    made: dict[tuple[int, int], Array] = {}

    def weights(share: slice) -> Array:
        key = share.start, share.stop
        found = made.get(key)
        if found is None:  # two threads may both make it, from the same numbers
            found = made[key] = make(share)
        return found

    return weights
