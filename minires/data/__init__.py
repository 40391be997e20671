"""Data sets, and the loader that cuts them into batches."""

from minires.data.dataset import Dataset, channel_statistics, normalize
from minires.data.digits import load_digits
from minires.data.loader import DataLoader
from minires.data.sources import load

__all__ = ["DataLoader", "Dataset", "channel_statistics", "load", "load_digits", "normalize"]
