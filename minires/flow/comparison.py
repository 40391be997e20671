"""Two networks side by side, seen through one instrument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minires import nn
from minires.errors import ContractError, UsageError
from minires.flow.ledger import Ledger, ledger
from minires.result import Result

__all__ = ["Comparison", "compare"]

Cells = list[list[Any]]


@dataclass(frozen=True)
class Comparison(Result):
    """What :func:`compare` gives.

    Attributes:
        names: of the two networks.
        results: of the instrument, in the same order; their own checks are in them.
        instrument: its name, as in ``ledger``.
    """

    names: tuple[str, str]
    results: tuple[Result, Result]
    instrument: str

    figure_name = "comparison_figure"

    def rows(self) -> tuple[list[str], Cells]:
        """Both tables in one.

        Rows of the same name become one row, with a column for each network; if no name is in both
        tables (or one is there twice) they are put below each other, with a column ``network``.
        """
        (headers, one), (other_headers, other) = (result.rows() for result in self.results)
        firsts = [row[0] for row in one], [row[0] for row in other]
        unique = all(len(set(first)) == len(first) for first in firsts)
        if headers == other_headers and unique and set(firsts[0]) & set(firsts[1]):
            return self._beside(headers, one, other)
        return self._below(headers, one, other_headers, other)

    def _beside(self, headers: list[str], one: Cells, other: Cells) -> tuple[list[str], Cells]:
        columns = [f"{header}, {name}" for header in headers[1:] for name in self.names]
        tables = [{row[0]: row[1:] for row in rows} for rows in (one, other)]
        nothing: list[Any] = [None] * (len(headers) - 1)
        rows = []
        for first in dict.fromkeys([row[0] for row in (*one, *other)]):
            pairs = zip(*(table.get(first, nothing) for table in tables), strict=True)
            rows.append([first, *(cell for pair in pairs for cell in pair)])
        return [headers[0], *columns], rows

    def _below(
        self, headers: list[str], one: Cells, other_headers: list[str], other: Cells
    ) -> tuple[list[str], Cells]:
        columns = list(dict.fromkeys([*headers, *other_headers]))
        rows = []
        for name, own, cells in zip(
            self.names, (headers, other_headers), (one, other), strict=True
        ):
            for row in cells:
                named = dict(zip(own, row, strict=True))
                rows.append([name, *(named.get(column) for column in columns)])
        return ["network", *columns], rows

    def to_dict(self) -> dict[str, Any]:
        """Names, the two results as plain data, and the name of the instrument."""
        return {
            "names": list(self.names),
            "results": [result.to_dict() for result in self.results],
            "instrument": self.instrument,
        }

    def caption(self) -> str:
        """What the instrument says of each; for ledgers also how the gradient grows or fades."""
        said = [f"{n}: {r.caption()}" for n, r in zip(self.names, self.results, strict=True)]
        grown = [_growth(n, r) for n, r in zip(self.names, self.results, strict=True)]
        if all(grown):
            lead = "On its way back from the last block to the first the gradient's rms"
            said.insert(0, f"{lead} {' and '.join(grown)}.")
        return " ".join(said)

    def details(self) -> list[str]:
        """Those of both."""
        pairs = zip(self.names, self.results, strict=True)
        return [f"{name}: {line}" for name, result in pairs for line in result.details()]


def compare(
    a: Any,
    b: Any,
    x: Any = None,
    target: Any = None,
    *,
    names: Sequence[str] | None = None,
    instrument: Callable[..., Any] = ledger,
    **options: Any,
) -> Comparison:
    """Lay two networks side by side: two results of one instrument, or two models and a batch.

    Models are looked at by ``instrument(model, x, target, **options)``, one after the other, with
    the same batch; it costs what the instrument costs, twice, and leaves the trace it leaves: none.
    What was measured is not changed, so the checks of the two results are those of the comparison.

    Args:
        a, b: both results of the same instrument, or both models.
        x, target: the batch (N, ...) and its labels, for models; or what else the instrument takes.
        names: of the two; by default what the models say of themselves, or 'a' and 'b'.
        instrument: any of :mod:`minires.flow` that takes a model and a batch.
        options: handed on to the instrument.

    Returns:
        A :class:`Comparison`.

    Raises:
        ContractError: results of different instruments, one model and one result, a batch that is
            missing, or an instrument that is none.
        UsageError: a batch or options beside results, or names that are not two different ones.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> one = mr.models.cifar_plain(8, width=2, in_channels=1)
    >>> other = mr.models.cifar_resnet(8, width=2, in_channels=1)
    >>> found = compare(one, other, mr.randn(3, 1, 8, 8), mr.tensor([0, 1, 2]))
    >>> found.rows()[0][:3], len(found.rows()[1])
    (['block', 'skip |g|, plain-8', 'skip |g|, residual-8'], 3)
    """
    if isinstance(a, Result) and isinstance(b, Result):
        if x is not None or target is not None or options:
            raise UsageError(
                "compare: these are results already, so nothing is run. Leave the batch and the "
                "options out, or give the two models."
            )
        if type(a) is not type(b):
            raise ContractError(
                f"compare: a {type(a).__name__} and a {type(b).__name__} are results of different "
                "instruments. Compare two results of the same one."
            )
        one, other = _chosen(names, ("a", "b"))
    else:
        _check_models(a, b, x, instrument)
        one, other = _chosen(names, _names_of(a, b))
        a, b = (_run(instrument, model, x, target, options) for model in (a, b))
    return Comparison((one, other), (a, b), a.figure_name.removesuffix("_figure"))


def _chosen(names: Sequence[str] | None, known: tuple[str, str]) -> tuple[str, str]:
    chosen = list(known if names is None else map(str, names))
    if isinstance(names, str) or len(chosen) != 2 or chosen[0] == chosen[1]:
        raise UsageError(f"compare: names must be two different ones, got {names!r}.")
    return chosen[0], chosen[1]


def _check_models(a: Any, b: Any, x: Any, instrument: Any) -> None:
    for given in (a, b):
        if not isinstance(given, nn.Module):
            raise ContractError(
                f"compare: a {type(given).__name__} is no model. Give two models and a batch, or "
                "two results of one instrument."
            )
    if not callable(instrument):
        raise ContractError(
            f"compare: a {type(instrument).__name__} is no instrument. Give the function itself: "
            "instrument=mr.flow.ledger."
        )
    if x is None:
        raise ContractError(
            "compare: two models need a batch to be looked at: compare(a, b, x, target)."
        )


def _run(
    instrument: Callable[..., Any], model: nn.Module, x: Any, target: Any, options: dict[str, Any]
) -> Result:
    batch = (x,) if target is None else (x, target)
    result = instrument(model, *batch, **options)
    if not isinstance(result, Result):
        raise ContractError(
            f"compare: {getattr(instrument, '__name__', instrument)} gave a "
            f"{type(result).__name__}, and not the result of an instrument, as mr.flow.ledger does."
        )
    return result


def _names_of(a: nn.Module, b: nn.Module) -> tuple[str, str]:
    """What the models say of themselves, told apart where that is the same."""
    one, other = (model.extra_repr() or type(model).__name__ for model in (a, b))
    return (one, other) if one != other else (f"{one} (a)", f"{other} (b)")


def _growth(name: str, result: Result) -> str:
    """How the rms of the gradient changes on the way back, for ledgers where it can be said."""
    if not isinstance(result, Ledger):
        return ""
    first, last = result.blocks[0].grad_rms, result.blocks[-1].grad_rms
    if not (0.0 < first < float("inf") and 0.0 < last < float("inf")):
        return ""
    return f"is multiplied by {first / last:.3g} in {name}"
