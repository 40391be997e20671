"""Convolution as a few matrix products with shifted views of an image that is unfolded sideways.

Letters: n images in a chunk of the batch, G groups, C channels a group of the input and M of the
output (in the gradient by the input the "image" is grad_out, and the two change places); H rows and
W columns of the image, KH and KW of the kernel, OH and OW of the output.  A tap is one place (kh,
kw) of the kernel; deep is how many numbers lie in a pixel: n with the images together, else 1.  The
inner size of a product is the length of the sums that it takes.

im2col copies the image KH*KW times, once for each tap.  Here it is copied KW times, once for each
column of the kernel, moved sideways so that every output finds its number in its own column:

    unfolded[kw, c, row, ow] = x[c, row, what output ow reads in column kw]      0 beyond the image

What the taps of kernel row kh multiply, for all outputs at once, is then a block of OH whole rows
of that buffer, and the next kernel row multiplies the same memory from a later row on.  Rows lie
one after the other, so a block is a matrix, and nothing is copied for it:

    out = sum over kh of  weight_kh @ unfolded[:, rows of kh]
          (M, OH*OW)      (M, KW*C)   (KW*C, OH*OW)

The first product lands in the output where it lies, the others are added to it.  Their inner size
KW*C is fat enough for BLAS; where it is long, a product is cut into several shorter sums, which
round less.  With a stride of S, the rows that a kernel row reads have all the same remainder modulo
S.  Kernel rows of one remainder share a buffer; each remainder has one, with only its own rows.

All three maps of a convolution are made of this.  The gradient by the input is the same routine on
grad_out, with other places to read from (the kernel that textbooks turn by 180 degrees is here
offsets that run backwards) and the two channel axes of the weight exchanged; with a
stride it is several small convolutions, one for each remainder of the pixel's row and column, each
with its own taps of the kernel, so that no zeros between the pixels are multiplied.  The gradient
by the weight is the same products the other way round:

    grad_weight_kh^T = sum over the images of  unfolded[:, rows of kh] @ grad_out^T
    (KW*C, M)                                  (KW*C, OH*OW)   (OH*OW, M)

This gradient can be had from the unfolded grad_out too, as the sum over the pixels of what the taps
read of grad_out times x.  So where both gradients are asked for, grad_out is unfolded once, and x
is not.

Small planes make small matrices.  Then all images of a chunk lie side by side in one, with the
image as the last axis: the "image" above has n numbers in each pixel, and all else stays as it is.
Images that lie so in memory already (kernels/layout.py) need not be moved for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from minires.device import Array, array_module
from minires.kernels.parallel import scratch

__all__ = [
    "Reading",
    "correlate",
    "correlate_both",
    "correlate_with",
    "images_together",
    "matrices",
    "short_sums",
    "to_move",
    "turned_matrices",
    "working_set",
]


class Reading(NamedTuple):
    """Where a convolution reads: tap (kh, kw) of output (i, j) reads

    x[i * row_step + rows[kh], j * column_step + columns[kw]]        0 beyond the image
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    row_step: int
    column_step: int

    @property
    def taps(self) -> int:
        """How many."""
        return len(self.rows) * len(self.columns)

    @property
    def steps_by_one(self) -> bool:
        """Whether neighbouring outputs read neighbouring pixels."""
        return self.row_step == self.column_step == 1


def matrices(weight: Array) -> Array:
    """The weight (G, M, C, KH, KW) as a matrix for each kernel row: (KH, G, M, KW*C)."""
    G, M, C, KH, KW = weight.shape
    return weight.transpose(3, 0, 1, 4, 2).reshape(KH, G, M, KW * C)


def turned_matrices(weight: Array) -> Array:
    """The same for (G, C, M, KH, KW), with the channels exchanged: (KH, G, M, KW*C).

    Large matrices lie turned in memory, which BLAS takes as it is: copying with the channels in
    place is many times faster than exchanging them.  Small ones are exchanged, as BLAS is slower
    with them turned.
    """
    G, C, M, KH, KW = weight.shape
    if weight.size < EXCHANGE_BELOW:
        return weight.transpose(3, 0, 2, 4, 1).reshape(KH, G, M, KW * C)
    return weight.transpose(3, 0, 4, 1, 2).reshape(KH, G, KW * C, M).swapaxes(2, 3)


EXCHANGE_BELOW = 1 << 13  # numbers; measured


def correlate(x: Array, weights: Array, reading: Reading, out: Array) -> None:
    """Write to ``out`` the sum over the taps of the tap's weight @ what the tap reads.

    x (n, G, C, H, W)    weights: matrices(weight)    out (n, G, M, OH, OW), any strides
    """
    together = images_together(to_move(x, out), len(weights) * out.shape[1], weights.size)
    total = _Sum(weights, out, together)
    for kh, block in _blocks_read(x, reading, out.shape[3:], together):
        total.add(kh, block)
    total.finish()


def correlate_with(g: Array, x: Array, reading: Reading) -> Array:
    """Sum over images and outputs of what each tap reads * g: (KH, G, KW*C, M).

    g (n, G, M, OH, OW)    x (n, G, C, H, W)
    """
    KH, weights = len(reading.rows), reading.taps * x.shape[1] * x.shape[2] * g.shape[2]
    together = images_together(to_move(x, g), KH * g.shape[1], weights)
    pairs = _Pairs(g, x, reading, together)
    for kh, block in _blocks_read(x, reading, g.shape[3:], together):
        pairs.add(kh, block)
    return pairs.found


def correlate_both(x: Array, weights: Array, reading: Reading, out: Array, beside: Array) -> Array:
    """:func:`correlate`, and ``correlate_with(beside, x, reading)`` from the same buffers.

    ``beside`` has the shape of ``out``.
    """
    together = images_together(to_move(x, out, beside), len(weights) * out.shape[1], weights.size)
    total, pairs = _Sum(weights, out, together), _Pairs(beside, x, reading, together)
    for kh, block in _blocks_read(x, reading, out.shape[3:], together):
        total.add(kh, block)
        pairs.add(kh, block)
    total.finish()
    return pairs.found


class _Sum:
    """out = sum over kh of weights[kh] @ block kh."""

    def __init__(self, weights: Array, out: Array, together: bool):
        self.weights, self.planes = weights, _planes(out, together)
        self.sums = short_sums(weights.shape[3])
        self.matmul = array_module(out).matmul
        n, G, M, OH, OW, deep = self.planes.shape
        shape = (n, G, M, OH * OW * deep)
        self.in_place = _in_runs(self.planes)
        # (n, G, M, OH*OW*deep): the first product lands here, the others are added to it
        self.total = (
            self.planes.reshape(shape) if self.in_place else scratch(out, "total", shape, out.dtype)
        )
        several = len(weights) * len(self.sums) > 1
        self.product = scratch(out, "product", shape, out.dtype) if several else None
        self.begun = False

    def add(self, kh: int, block: Array) -> None:
        weights, total = self.weights[kh], self.total
        for terms in self.sums:
            if not self.begun:
                self.matmul(weights[:, :, terms], block[:, :, terms], out=total)
                self.begun = True
            else:
                self.matmul(weights[:, :, terms], block[:, :, terms], out=self.product)
                total += self.product

    def finish(self) -> None:
        if not self.begun:  # no tap reaches these outputs
            self.planes[...] = 0
        elif not self.in_place:
            self.planes[...] = self.total.reshape(self.planes.shape)


class _Pairs:
    """found[kh] = sum over the images of block kh @ g^T.

    BLAS can read g turned.  Where the result is of middling size it is faster to turn a copy of g
    beforehand.
    """

    def __init__(self, g: Array, x: Array, reading: Reading, together: bool):
        xp = array_module(g)
        planes = _planes(g, together)
        if not _in_runs(planes):
            planes = _copied(planes, "side by side")
        n, G, M, OH, OW, deep = planes.shape
        K = len(reading.columns) * x.shape[2]
        self.matmul = xp.matmul
        self.found = xp.empty((len(reading.rows), G, K, M), xp.result_type(g, x))
        self.turned = planes.reshape(n, G, M, OH * OW * deep).swapaxes(2, 3)
        if TURN_FROM < K * M < TURN_TO:
            self.turned = _copied(self.turned, "turned")

    def add(self, kh: int, block: Array) -> None:
        if len(block) == 1:
            self.matmul(block[0], self.turned[0], out=self.found[kh])
        else:
            self.matmul(block, self.turned).sum(axis=0, out=self.found[kh])


# With 128 terms the error in float32 is PyTorch's or less; without a bound it is 1.6 times that at
# 128 channels and more.  Measured: minires bench --only accuracy.
LONGEST_SUM = 128


def short_sums(length: int) -> list[slice]:
    """Cut the inner size of a product, so that no rounding errors build up along a long sum.

    A product adds its terms one after the other; several shorter sums, added at the end, err less.

    >>> short_sums(96), short_sums(192)
    ([slice(0, 96, None)], [slice(0, 96, None), slice(96, 192, None)])
    """
    parts = -(-length // LONGEST_SUM)
    return [slice(length * i // parts, length * (i + 1) // parts) for i in range(parts)]


# Measured: OpenBLAS has a quick way for products whose second factor is turned, if the result has
# at most about 1200 numbers; and in large products it turns as quickly as we could.
TURN_FROM, TURN_TO = 1_200, 100_000


# What it costs, in nanoseconds: to begin a product, to read a number of the weight once more, and
# to move a number to another place with strides.  Measured on one processor;
# tests/proofs/cost_model.py says whether they choose well on another.
BEGIN, READ, MOVE = 350.0, 0.1, 1.2


def images_together(moved: int, products: int, weights: int) -> bool:
    """Whether the images of a chunk lie side by side in one wide matrix, or each in its own.

    Each in its own, every image begins all products and reads all weights.  Side by side, with the
    image as the last axis, each number that does not lie so is moved once.  So small planes with
    many channels are better off side by side, and all that lies so already.

    Args:
        moved: numbers of one image to move for it, see :func:`to_move`.
        products: of one image.
        weights: numbers in all filters.

    >>> images_together(2 * 64 * 8 * 8, 3, 64 * 64 * 9)
    False
    >>> images_together(2 * 512 * 7 * 7, 3, 512 * 512 * 9)
    True
    """
    return BEGIN * products + READ * weights > MOVE * moved


def to_move(*arrays: Array) -> int:
    """Numbers of one image that do not lie images last, less those that do.

    >>> import numpy as np
    >>> to_move(np.zeros((2, 1, 3, 4, 4)))
    48
    """
    moved = 0
    for array in arrays:
        last = len(array) == 1 or array.strides[0] == array.itemsize
        size = array.size // len(array)
        moved += -size if last else size
    return moved


@lru_cache
def working_set(C: int, M: int, reading: Reading, OH: int, OW: int) -> int:
    """Numbers that :func:`correlate` works on for one image: a buffer, the sum and a product."""
    height = max((OH + max(starts) for _, _, starts in _by_remainder(reading)), default=0)
    return OW * (len(reading.columns) * C * height + 2 * M * OH)


def _by_remainder(reading: Reading) -> list[tuple[int, list[int], list[int]]]:
    """Kernel rows by the remainder of the rows that they read: each remainder has a buffer.

    For each remainder the row of x that row 0 of the buffer holds, its kernel rows, and the row of
    the buffer where each begins to read.
    """
    step = reading.row_step
    members: dict[int, list[int]] = {}
    for kh, row in enumerate(reading.rows):
        members.setdefault(row % step, []).append(kh)
    found = []
    for rows in members.values():
        first = min(reading.rows[kh] for kh in rows)
        found.append((first, rows, [(reading.rows[kh] - first) // step for kh in rows]))
    return found


class _Buffer(NamedTuple):
    """How a buffer of unfolded rows is filled and read, for one shape of image.

    What is put and taken are places in a plane of the buffer and of the image: one run of numbers
    where the columns are read one by one, (rows, columns) otherwise.
    """

    height: int  # rows
    moves: list[tuple[tuple[Any, ...], tuple[Any, ...]]]  # where to in the buffer, where from in x
    zeros: list[tuple[Any, ...]]  # what lies beyond the image
    uses: list[tuple[int, slice]]  # kernel row, and the numbers of a plane that it reads


@lru_cache(maxsize=1024)
def _buffers(
    reading: Reading, image: tuple[int, int], out: tuple[int, int], deep: int, runs: bool
) -> list[_Buffer]:
    (H, W), (OH, OW) = image, out
    every = slice(None)
    buffers = []
    for first, kernel_rows, starts in _by_remainder(reading):
        height = OH + max(starts)
        rows, from_rows = _inside(first, reading.row_step, height, H)
        moves: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = []
        zeros: list[tuple[Any, ...]] = []
        if rows.start:
            zeros.append((..., slice(0, rows.start), every, every))
        if rows.stop < height:
            zeros.append((..., slice(rows.stop, height), every, every))
        for kw, column in enumerate(reading.columns):
            cols, from_cols = _inside(column, reading.column_step, OW, W)
            put: tuple[Any, ...] = (every, every, kw, every)
            if runs:  # whole rows in a run: what moves beyond the end of a row is zeroed afterwards
                length = (rows.stop - rows.start) * W * deep
                by = max(-length, min(length, column * deep))
                to, of = rows.start * W * deep, from_rows.start * W * deep
                moves.append(
                    (
                        (*put, slice(to + max(0, -by), to + length - max(0, by))),
                        (..., slice(of + max(0, by), of + length - max(0, -by))),
                    )
                )
            else:
                moves.append(((*put, rows, cols), (..., from_rows, from_cols, every)))
            if cols.start:
                zeros.append((*put, every, slice(0, cols.start)))
            if cols.stop < OW:
                zeros.append((*put, every, slice(cols.stop, OW)))
        width = OW * deep
        reads = [slice(start * width, (start + OH) * width) for start in starts]
        buffers.append(_Buffer(height, moves, zeros, list(zip(kernel_rows, reads, strict=True))))
    return buffers


def _blocks_read(
    x: Array, reading: Reading, out: tuple[int, int], together: bool
) -> Iterator[tuple[int, Array]]:
    """For each kernel row the numbers that it reads, as a matrix for each image and group.

    (n, G, KW*C, OH*OW), or with the images together (1, G, KW*C, OH*OW*n).
    """
    source = _planes(x, together)
    if together and not _in_runs(source):
        source = _copied(source, "source")
    n, G, C, H, W, deep = source.shape
    OW, KW = out[1], len(reading.columns)
    if reading == ((0,), (0,), 1, 1) and out == (H, W):  # a 1x1 kernel: nothing to move
        yield 0, source.reshape(n, G, C, H * W * deep)
        return
    runs = reading.steps_by_one and OW == W
    if runs:
        source = source.reshape(n, G, C, H * W * deep)
    for buffer in _buffers(reading, (H, W), out, deep, runs):
        unfolded = scratch(x, "unfolded", (n, G, KW, C, buffer.height, OW, deep), x.dtype)
        by_run = unfolded.reshape(n, G, KW, C, buffer.height * OW * deep) if runs else unfolded
        for put, take in buffer.moves:
            by_run[put] = source[take]
        for beyond in buffer.zeros:
            unfolded[beyond] = 0
        matrix = unfolded.reshape(n, G, KW * C, buffer.height * OW * deep)
        for kh, read in buffer.uses:
            yield kh, matrix[..., read]


def _planes(x: Array, together: bool) -> Array:
    """(n, G, C, H, W) as (n, G, C, H, W, 1), or with all images in each pixel, (1, ..., n)."""
    return x.transpose(1, 2, 3, 4, 0)[None] if together else x[..., None]


def _in_runs(planes: Array) -> bool:
    """Whether each plane, with all that is in its pixels, is one run of memory."""
    _, W, deep = planes.shape[3:]
    row, pixel, number = planes.strides[3:]
    size = planes.itemsize
    return (row, pixel) == (W * deep * size, deep * size) and (deep == 1 or number == size)


def _copied(array: Array, name: str) -> Array:
    """The same in one run of scratch memory."""
    copy = scratch(array, name, array.shape, array.dtype)
    copy[...] = array
    return copy


def _inside(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Which of the places first, first + step, ... lie in an axis, and where: put and take."""
    start = min(count, max(0, -(first // step)))
    stop = max(start, min(count, (size - 1 - first) // step + 1))
    take = first + start * step
    return slice(start, stop), slice(take, take + (stop - start) * step, step)
