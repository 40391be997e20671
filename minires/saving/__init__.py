"""Weights in and out of files: NumPy archives, safetensors, and PyTorch's .pth without PyTorch."""

from minires.saving.npz import npz_bytes, read_npz
from minires.saving.pth import read_pth
from minires.saving.safetensors import read_metadata, read_safetensors, safetensors_bytes
from minires.saving.weights import load, save

__all__ = [
    "load",
    "npz_bytes",
    "read_metadata",
    "read_npz",
    "read_pth",
    "read_safetensors",
    "safetensors_bytes",
    "save",
]
