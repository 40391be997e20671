"""The microscope: instruments that show where the gradient goes."""

from minires.flow.ledger import Ledger, LedgerEntry, ledger
from minires.flow.untouched import untouched

__all__ = ["Ledger", "LedgerEntry", "ledger", "untouched"]
