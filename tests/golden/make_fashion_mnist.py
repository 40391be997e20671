"""Make minires/data/files/fashion_mnist.npz from the published Fashion-MNIST.

    python tests/golden/make_fashion_mnist.py /usr/share/datasets/fashion-mnist

The folder holds the four published files, gzipped or not; Debian's package dataset-fashion-mnist
puts them into the one above.  Their contents are checked, so the result has always the same bytes.
Prints the two checksums that ATTRIBUTION.md and minires/data/fashion_mnist.py carry.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from minires.data.fashion_mnist import FASHION_MNIST
from minires.data.idx import read_idx_set

TARGET = Path(__file__).parents[2] / "minires" / "data" / "files" / "fashion_mnist.npz"
A_CLASS = {"train": 500, "test": 100}
SEED = 0


def stratified_index(
    labels: np.ndarray, a_class: int, generator: np.random.Generator
) -> np.ndarray:
    """Sorted indices of ``a_class`` images of each class, drawn at random."""
    picked = [
        generator.permutation(np.flatnonzero(labels == label))[:a_class] for label in range(10)
    ]
    return np.sort(np.concatenate(picked))


def main(folder: str) -> None:
    generator = np.random.default_rng(SEED)
    arrays = {}
    for part, (images, labels) in zip(
        A_CLASS, read_idx_set(FASHION_MNIST, data_dir=folder), strict=True
    ):
        index = stratified_index(labels, A_CLASS[part], generator)
        arrays |= {f"{part}_images": images[index], f"{part}_labels": labels[index]}
    np.savez_compressed(TARGET, **arrays)
    content = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values()))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
    print("sha256 of the file:  ", hashlib.sha256(TARGET.read_bytes()).hexdigest())
    print("sha256 of the arrays:", content.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
