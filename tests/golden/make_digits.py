"""Make minires/data/files/digits.npz from scikit-learn's copy of the UCI optical digits.

    python tests/golden/make_digits.py            (needs scikit-learn)

The split is drawn here once and stored, so that no later change of a random stream can move it.
Prints the two checksums that ATTRIBUTION.md and minires/data/digits.py carry.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[2] / "minires" / "data" / "files" / "digits.npz"
TEST_SIZE = 360
SEED = 0


def stratified_test_index(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Sorted indices of ``size`` images in which each class has its share, to the nearest image.

    Whole shares first; what is missing goes to the classes with the largest remainders.
    """
    counts = np.bincount(labels)
    exact = counts * size / counts.sum()
    shares = np.floor(exact).astype(int)
    order = np.argsort(-(exact - shares), kind="stable")
    shares[order[: size - shares.sum()]] += 1
    generator = np.random.default_rng(seed)
    picked = [
        generator.permutation(np.flatnonzero(labels == label))[:share]
        for label, share in enumerate(shares)
    ]
    return np.sort(np.concatenate(picked))


def main() -> None:
    source = load_digits()
    images = source.images.astype(np.uint8)  # (1797, 8, 8), values 0 to 16
    if not np.array_equal(images, source.images):
        raise ValueError("the source images are not whole numbers below 256")
    labels = source.target.astype(np.uint8)
    test_index = stratified_test_index(labels, TEST_SIZE, SEED).astype(np.uint16)
    np.savez_compressed(TARGET, images=images, labels=labels, test_index=test_index)
    content = hashlib.sha256(images.tobytes() + labels.tobytes() + test_index.tobytes())
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
    print("sha256 of the file:  ", hashlib.sha256(TARGET.read_bytes()).hexdigest())
    print("sha256 of the arrays:", content.hexdigest())


if __name__ == "__main__":
    main()
