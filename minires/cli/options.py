"""The options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = [
    "add_data_options",
    "add_device_option",
    "add_sgd_options",
    "add_threads_option",
    "folder_name",
]


def folder_name(text: str) -> Path:
    """The argument of ``--out``."""
    if not text.strip():
        raise argparse.ArgumentTypeError("needs the name of a folder")
    return Path(text)


def add_data_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--data`` and ``--data-dir``, which are absent unless they are given."""
    from minires.data.sources import LOADERS

    names = ", ".join(LOADERS)
    parser.add_argument(
        "--data", default=argparse.SUPPRESS, help=f"data set: {names} (default: {default})"
    )
    parser.add_argument(
        "--data-dir",
        type=folder_name,
        default=argparse.SUPPRESS,
        help="folder of its files (default: MINIRES_DATA, and where minires fetch puts them)",
    )


def add_sgd_options(parser: argparse.ArgumentParser, default: Any) -> None:
    """Add those of the optimiser; ``default`` has their values."""
    parser.add_argument("--lr", type=float, default=default.lr, help="learning rate at the start")
    parser.add_argument("--momentum", type=float, default=default.momentum, help="of SGD")
    parser.add_argument("--weight-decay", type=float, default=default.weight_decay, help="of SGD")


def add_device_option(parser: argparse.ArgumentParser, default: str = "cpu") -> None:
    """Add ``--device``, which is absent unless it is given; ``default`` is told."""
    parser.add_argument(
        "--device",
        default=argparse.SUPPRESS,
        help=f"cpu, cuda, or cuda:1 for the second GPU (default: {default})",
    )


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``, which is absent unless it is given."""
    parser.add_argument(
        "--threads",
        type=int,
        default=argparse.SUPPRESS,
        help="threads; the bits are the same for any (default: all processors)",
    )
