"""``python -m minires.check.mistakes [operation]``: the bank, or one operation with its hints."""

import argparse
import inspect
import os
import sys

from minires.check.mistakes import BANK, Operation
from minires.table import format_table


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(
        prog="python -m minires.check.mistakes",
        description="The mistakes that minires.check.diagnose knows.",
    )
    parser.add_argument("operation", nargs="?", choices=sorted(BANK), help="this one, with hints")
    chosen = parser.parse_args().operation
    try:
        if chosen:
            print_one(BANK[chosen])
        else:
            print_all()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_all() -> None:
    """A row for each mistake, and the counts."""
    rows = [
        [operation.name, mistake.name, mistake.title, ", ".join(mistake.gradients)]
        for operation in BANK.values()
        for mistake in operation.mistakes
    ]
    print(format_table(["operation", "name", "what goes wrong", "gradients"], rows))
    variants = sum(len(m.variants) for o in BANK.values() for m in o.mistakes)
    print(f"\n{len(BANK)} operations, {len(rows)} mistakes, {variants} variants of them.")


def print_one(operation: Operation) -> None:
    """What forward takes, and each mistake with its hint."""
    says = (inspect.getdoc(operation.forward) or "").splitlines()[0]
    print(f"{operation.name}: {says.split('; grad')[0]}")  # the gradient is the learner's task
    print(f"  {operation.signature()}")
    for mistake in operation.mistakes:
        print(f"\n{mistake.name}: {mistake.title}\n  {mistake.hint}")


if __name__ == "__main__":
    main()
