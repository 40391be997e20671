"""The solutions of earlier tasks, which take the place of a submission's."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

__all__ = ["solutions"]


def solutions(
    names: dict[str, Any],
    given: dict[str, Any],
    references: Iterable[tuple[str, types.CodeType]],
) -> dict[str, Any]:
    r"""Run the solutions; what each task's name stands for in them.

    They run among names of their own and call each other and their helpers there: a helper may be
    called like one of the submission's, which must stay what it is.

    Args:
        names: those of the submission.
        given: what comes with the assignment, as it was before the submission was run; the
            solutions are added to it.  Of a class, which the submission has again in its copy of
            the given code, they take that one: there must not be two.
        references: the name and the code of each task, in order.

    >>> names = {"half": lambda x: x / 2}
    >>> text = "def half(x): return x // 2\ndef double(x): return x + half(2 * x)"
    >>> found = solutions(names, {}, [("double", compile(text, "solution", "exec"))])
    >>> found["double"](3), list(found)
    (6, ['double'])
    """
    for name, value in given.items():
        if isinstance(value, type) and isinstance(names.get(name), type):
            given[name] = names[name]
    tasks = []
    for task, code in references:
        exec(code, given)
        tasks.append(task)
    return {task: given[task] for task in tasks}
