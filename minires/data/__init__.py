"""Data sets, and the loader that cuts them into batches."""

from minires.data.augment import PadCropFlip
from minires.data.cifar import load_cifar10, load_cifar100
from minires.data.dataset import Dataset, channel_statistics, normalize, subtract_pixel_mean
from minires.data.digits import load_digits
from minires.data.fashion_mnist import load_fashion_mnist
from minires.data.fetching import fetch
from minires.data.loader import DataLoader
from minires.data.mnist import load_mnist
from minires.data.shapes import synthetic_shapes
from minires.data.sources import load

__all__ = [
    "DataLoader",
    "Dataset",
    "PadCropFlip",
    "channel_statistics",
    "fetch",
    "load",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "normalize",
    "subtract_pixel_mean",
    "synthetic_shapes",
]
