"""The microscope: instruments that show where the gradient goes."""

from minires.flow.ledger import Ledger, LedgerEntry, ledger
from minires.flow.paths import PathSample, sample_paths
from minires.flow.spectrum import PathSpectrum, path_spectrum
from minires.flow.untouched import untouched

__all__ = [
    "Ledger",
    "LedgerEntry",
    "PathSample",
    "PathSpectrum",
    "ledger",
    "path_spectrum",
    "sample_paths",
    "untouched",
]
