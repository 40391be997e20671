"""``python -m minires.check.mistakes`` prints the bank of known mistakes."""

from __future__ import annotations

from minires.check.mistakes import BANK
from minires.table import format_table

__all__ = ["main"]


def main() -> None:
    """Print one row for each mistake, and how many there are."""
    rows = [
        [operation.name, mistake.name, mistake.title, ", ".join(mistake.gradients)]
        for operation in BANK.values()
        for mistake in operation.mistakes
    ]
    print(format_table(["operation", "name", "what goes wrong", "gradients"], rows))
    print(f"\n{len(rows)} mistakes in {len(BANK)} operations.")


if __name__ == "__main__":
    main()
