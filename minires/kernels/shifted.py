"""Convolution as a few matrix products with shifted views of an image that is unfolded sideways.

Letters: n images in a chunk of the batch, G groups, C channels a group of the input and M of the
output (in the gradient by the input the "image" is grad_out, and the two change places); H rows
and W columns of the image, KH and KW of the kernel, OH and OW of the output.  A tap is one place
(kh, kw) of the kernel.  The inner size of a product is the length of the sums that it takes.

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

    grad_weight_kh = sum over the images of  grad_out @ unfolded[:, rows of kh]^T
    (M, KW*C)                                (M, OH*OW)  (OH*OW, KW*C)

Small planes of many channels make thin matrices.  Then all images of a chunk lie side by side in
one, with the image as the last axis: the "image" above has n numbers in each column, and all else
stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from minires.device import Array, array_module
from minires.kernels.parallel import scratch

__all__ = [
    "Reading",
    "correlate",
    "correlate_with",
    "images_together",
    "matrices",
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


class _Block(NamedTuple):
    """A buffer of unfolded rows, and the kernel rows that use it."""

    first: int  # the row of x that its row 0 holds
    height: int  # rows
    uses: list[tuple[int, int]]  # kernel row, and the row of the buffer where its block begins


def matrices(weight: Array) -> Array:
    """The weight (G, M, C, KH, KW) as a matrix for each kernel row: (KH, G, M, KW*C)."""
    G, M, C, KH, KW = weight.shape
    return weight.transpose(3, 0, 1, 4, 2).reshape(KH, G, M, KW * C)


def turned_matrices(weight: Array) -> Array:
    """The same for (G, C, M, KH, KW), with the channels exchanged: (KH, G, M, KW*C).

    Each matrix lies turned in memory, which BLAS takes as it is: copying with the channels in place
    is many times faster than exchanging them.
    """
    G, C, M, KH, KW = weight.shape
    return weight.transpose(3, 0, 4, 1, 2).reshape(KH, G, KW * C, M).swapaxes(2, 3)


def correlate(x: Array, weights: Array, reading: Reading, out: Array) -> None:
    """Write to ``out`` the sum over the taps of the tap's weight @ what the tap reads.

    x (n, G, C, H, W)    weights: matrices(weight)    out (n, G, M, OH, OW), any strides
    """
    n, G, M, OH, OW = out.shape
    if not weights.size:  # no tap reaches these outputs
        out[...] = 0
        return
    matmul = array_module(x).matmul
    together = images_together(x[0].size, out[0].size, len(weights) * G, weights.size)
    width = n * OW if together else OW  # of a row
    shape = (1 if together else n, G, M, OH * width)
    rows_in_a_run = out.strides[3:] == (OW * out.itemsize, out.itemsize)
    in_place = rows_in_a_run and not together
    total = out.reshape(shape) if in_place else scratch(x, "total", shape, out.dtype)
    target = total
    sums = _short_sums(weights.shape[3])
    for kh, block in _blocks_read(x, reading, OH, OW, together):
        for terms in sums:
            matmul(weights[kh, :, :, terms], block[:, :, terms], out=target)
            if target is not total:
                total += target
            elif len(weights) * len(sums) > 1:  # all but the first product are added
                target = scratch(x, "product", shape, out.dtype)
    if together:
        out[...] = total.reshape(G, M, OH, OW, n).transpose(4, 0, 1, 2, 3)
    elif not in_place:
        out[...] = total.reshape(out.shape)


# With 128 terms the error in float32 is PyTorch's or less (1.08 of it for images of 2x2); without a
# bound it is 1.6 times that at 128 channels and more.  Measured: minires bench --only accuracy.
LONGEST_SUM = 128


def _short_sums(length: int) -> list[slice]:
    """Cut the inner size of a product, so that no rounding errors build up along a long sum.

    A product adds its terms one after the other; several shorter sums, added at the end, err less.

    >>> _short_sums(96), _short_sums(192)
    ([slice(0, 96, None)], [slice(0, 96, None), slice(96, 192, None)])
    """
    parts = -(-length // LONGEST_SUM)
    return [slice(length * i // parts, length * (i + 1) // parts) for i in range(parts)]


def correlate_with(g: Array, x: Array, reading: Reading) -> Array:
    """Sum over images and outputs of g * what each tap reads: (KH, G, M, KW*C).

    g (n, G, M, OH, OW)    x (n, G, C, H, W)

    BLAS can multiply g with the block turned.  Where the result is of middling size it is faster to
    turn a copy of g beforehand, and the result afterwards.
    """
    xp = array_module(x)
    n, G, M, OH, OW = g.shape
    C, KH, KW = x.shape[2], len(reading.rows), len(reading.columns)
    out = xp.empty((KH, G, M, KW * C), xp.result_type(g, x))
    together = images_together(x[0].size, g[0].size, KH * G, out.size)
    if together:
        side_by_side = scratch(x, "side by side", (1, G, M, OH, OW, n), g.dtype)
        side_by_side[0] = g.transpose(1, 2, 3, 4, 0)
        g = side_by_side
    L = OH * OW * n if together else OH * OW
    g = g.reshape(*g.shape[:3], L)
    turned = None
    if TURN_FROM < M * KW * C < TURN_TO:
        turned = scratch(x, "turned", (*g.shape[:2], L, M), g.dtype)
        turned[...] = g.swapaxes(2, 3)
    for kh, block in _blocks_read(x, reading, OH, OW, together):
        if turned is None:
            xp.matmul(g, block.swapaxes(2, 3)).sum(axis=0, out=out[kh])
        else:
            out[kh] = xp.matmul(block, turned).sum(axis=0).swapaxes(1, 2)
    return out


# Measured: OpenBLAS has a quick way for products whose second factor is turned, if the result has
# at most about 1200 numbers; and in large products it turns as quickly as we could.
TURN_FROM, TURN_TO = 1_200, 100_000


# What it costs, in nanoseconds: to begin a product, to read a number of the weight once more, and
# to move a number to another place with strides.  Measured on one processor;
# tests/proofs/cost_model.py says whether they choose well on another.
BEGIN, READ, MOVE = 350.0, 0.1, 1.2


def images_together(x_size: int, out_size: int, products: int, weights: int) -> bool:
    """Whether the images of a chunk lie side by side in one wide matrix, or each in its own.

    Each in its own, every image begins all products and reads all weights.  Side by side, with the
    image as the last axis, each number of the input and of the output is moved once.  So small
    planes with many channels are better off side by side.

    Args:
        x_size, out_size: numbers of one image, before and after.
        products: of one image.
        weights: numbers in all filters.

    >>> images_together(64 * 8 * 8, 64 * 8 * 8, 3, 64 * 64 * 9)
    False
    >>> images_together(512 * 7 * 7, 512 * 7 * 7, 3, 512 * 512 * 9)
    True
    """
    return BEGIN * products + READ * weights > MOVE * (x_size + out_size)


@lru_cache
def working_set(C: int, M: int, reading: Reading, OH: int, OW: int) -> int:
    """Numbers that :func:`correlate` works on for one image: a buffer, the sum and a product."""
    height = max((block.height for block in _blocks(reading, OH)), default=0)
    return OW * (len(reading.columns) * C * height + 2 * M * OH)


@lru_cache
def _blocks(reading: Reading, OH: int) -> list[_Block]:
    """Kernel rows by the remainder of the rows that they read: each remainder has a buffer."""
    step = reading.row_step
    by_remainder: dict[int, list[int]] = {}
    for kh, row in enumerate(reading.rows):
        by_remainder.setdefault(row % step, []).append(kh)
    blocks = []
    for members in by_remainder.values():
        first = min(reading.rows[kh] for kh in members)
        uses = [(kh, (reading.rows[kh] - first) // step) for kh in members]
        blocks.append(_Block(first, OH + max(start for _, start in uses), uses))
    return blocks


def _blocks_read(
    x: Array, reading: Reading, OH: int, OW: int, together: bool
) -> Iterator[tuple[int, Array]]:
    """For each kernel row the numbers that it reads, as a matrix for each image and group.

    (n, G, KW*C, OH*OW), or with the images together (1, G, KW*C, OH*OW*n).
    """
    width = len(x) * OW if together else OW  # of a row of a buffer
    source = x[..., None]
    if together:  # one image, with n numbers in each column
        n, G, *sizes = x.shape
        source = scratch(x, "source", (1, G, *sizes, n), x.dtype)
        source[0] = x.transpose(1, 2, 3, 4, 0)
    for block in _blocks(reading, OH):
        unfolded = _unfold(source, reading, block, OW)
        for kh, start in block.uses:
            yield kh, unfolded[..., start * width : (start + OH) * width]


def _unfold(x: Array, reading: Reading, block: _Block, OW: int) -> Array:
    """The rows of a block once for each kernel column, moved sideways.

    From (n, G, C, H, W, deep), with ``deep`` numbers in each column, 1 or the images of the chunk,
    to (n, G, KW*C, height*OW*deep).
    """
    n, G, C, H, W, deep = x.shape
    _, columns, row_step, column_step = reading
    first, height, KW = block.first, block.height, len(columns)
    steps_by_one = (row_step, column_step, OW) == (1, 1, W)
    if steps_by_one and (first, height, columns) == (0, H, (0,)):  # a 1x1 kernel: nothing to move
        return x.reshape(n, G, C, H * W * deep)
    unfolded = scratch(x, "unfolded", (n, G, KW, C, height, OW, deep), x.dtype)
    rows, from_rows = _inside(first, row_step, height, H)
    unfolded[..., : rows.start, :, :] = 0
    unfolded[..., rows.stop :, :, :] = 0
    for kw, column in enumerate(columns):
        cols, from_cols = _inside(column, column_step, OW, W)
        tap = unfolded[:, :, kw, :, rows]
        if steps_by_one:  # whole rows in a run: what moves beyond the end of a row is zeroed below
            _move(x[..., from_rows, :, :], tap, column * deep)
        else:
            tap[..., cols, :] = x[..., from_rows, from_cols, :]
        if cols.start:
            tap[..., : cols.start, :] = 0
        if cols.stop < OW:
            tap[..., cols.stop :, :] = 0
    return unfolded.reshape(n, G, KW * C, height * OW * deep)


def _move(rows: Array, tap: Array, by: int) -> None:
    """tap[i] = rows[i + by] along the rows of each channel, taken as one run of numbers."""
    length = rows.shape[3] * rows.shape[4] * rows.shape[5]
    by = max(-length, min(length, by))
    given, taken = (a.reshape(*a.shape[:3], length) for a in (rows, tap))
    taken[..., max(0, -by) : length - max(0, by)] = given[..., max(0, by) : length - max(0, -by)]


def _inside(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Which of the places first, first + step, ... lie in an axis, and where: put and take."""
    start = min(count, max(0, -(first // step)))
    stop = max(start, min(count, (size - 1 - first) // step + 1))
    take = first + start * step
    return slice(start, stop), slice(take, take + (stop - start) * step, step)
