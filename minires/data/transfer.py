"""Batches on their way to a GPU: one copy each, beside the work that goes on there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.data.prefetch import prefetch
from minires.device import Array, gpu, import_cupy

__all__ = ["Sender", "Sent", "sent_ahead"]

_ALIGNED = 16  # bytes: where kernels read four float32 at once
_PER_THREAD = 2  # cudaStreamPerThread, the name of another stream in every thread


def sent_ahead(
    make: Callable[[int], tuple[np.ndarray, np.ndarray]], numbers: range, ahead: int, device: str
) -> Generator[tuple[Array, Array], None, None]:
    """What :func:`prefetch` yields, on a GPU: the thread that makes a batch also sends it."""
    with closing(Sender(device)) as sender:
        ahead = ahead if sender.ahead else 0
        with closing(prefetch(lambda i: sender.send(*make(i)), numbers, ahead)) as sent:
            yield from map(sender.received, sent)


@dataclass(eq=False)
class Sent:
    """A batch that is being copied: both ends of the copy, and the event at its end."""

    host: np.ndarray
    images: Array
    labels: Array
    arrived: Any


class Sender:
    """Copies batches to a GPU on a stream of its own, while the consumer's stream is at work.

    The host waits for nothing: that a copy comes after what it writes over, and before what reads
    it, is told to the two streams, as events that one records and the other waits for.

    Three kinds of memory must not be written to too early.

    - The buffer on the GPU, by the copy.  CuPy hands memory out again as soon as Python has let go
      of it, to the stream that it was allocated on, although the work that reads it may still be
      queued there.  So the buffer is allocated on the consumer's stream, where all that follows
      comes after that work, and the copy, which runs on another stream, waits until the consumer's
      has come to where it is now.
    - The buffer on the GPU, by the consumer, if a batch is let go of before it has arrived: one
      that was sent ahead when the loop was left.  It is kept until its event has passed.
    - The page-locked buffer on the host, by the next batch: it is kept in the same way, and CuPy's
      pool of such memory uses it again afterwards.

    Args:
        device: 'cuda' or 'cuda:1'.

    The consumer is whoever makes it, and its stream the one that is current then.  ``ahead`` tells
    whether another thread may send: not if that stream is the per-thread default one, which no
    other thread can name.  One thread sends at a time.
    """

    def __init__(self, device: str):
        self._device = gpu(device)
        self._cupy = import_cupy()
        with self._device:
            self._consumer = self._cupy.cuda.get_current_stream()
            # A blocking one would wait for all work on the default stream, and that for it.
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self.ahead = self._consumer.ptr != _PER_THREAD
        self._under_way: deque[Sent] = deque()
        self._closed = False

    def send(self, images: np.ndarray, labels: np.ndarray) -> Sent:
        """Begin to copy a batch, both arrays in one piece; the arrays themselves are free then."""
        start = -(-images.nbytes // _ALIGNED) * _ALIGNED  # of the labels
        size = start + labels.nbytes
        with self._device:  # each thread has a current one
            host = np.frombuffer(self._cupy.cuda.alloc_pinned_memory(size), np.uint8, size)
            _split(host, start, images, labels, fill=True)
            with self._consumer:
                buffer = self._cupy.empty(size, np.uint8)
            self._stream.wait_event(self._now(self._consumer))
            buffer.set(host, self._stream)
            on_gpu = _split(buffer, start, images, labels)
            sent = Sent(host, *on_gpu, self._now(self._stream))
        self._forget_arrived()
        self._under_way.append(sent)
        if self._closed:  # while this one was being made
            self._stream.synchronize()
        return sent

    def received(self, sent: Sent) -> tuple[Array, Array]:
        """Images and labels on the GPU; what the caller's stream does from now on can read them."""
        with self._device:
            self._cupy.cuda.get_current_stream().wait_event(sent.arrived)
        return sent.images, sent.labels

    def close(self) -> None:
        """Wait for what is still under way: the memory at both ends is let go of."""
        self._closed = True
        self._forget_arrived()
        if self._under_way:
            self._stream.synchronize()
            self._under_way.clear()

    def _forget_arrived(self) -> None:
        while self._under_way and self._under_way[0].arrived.done:
            self._under_way.popleft()

    def _now(self, stream: Any) -> Any:
        """An event after all that was queued on ``stream`` so far."""
        event = self._cupy.cuda.Event(disable_timing=True)
        event.record(stream)
        return event


def _split(
    buffer: Array, start: int, images: np.ndarray, labels: np.ndarray, *, fill: bool = False
) -> tuple[Array, Array]:
    """The places in ``buffer`` (bytes) for images, from 0, and for labels, from ``start``."""
    parts = []
    for place, array in ((0, images), (start, labels)):
        part = buffer[place : place + array.nbytes].view(array.dtype).reshape(array.shape)
        if fill:
            part[...] = array
        parts.append(part)
    return parts[0], parts[1]
