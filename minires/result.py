"""What every instrument and checker returns: data first, and ways to look at it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from minires.table import format_table, html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Result"]


class Result:
    """Base of the results of instruments.

    A subclass is a dataclass with its data; it defines ``rows`` (headers and cells), ``to_dict``
    (plain data for JSON and for drawing), ``figure_name`` (the function of :mod:`minires.viz` that
    draws it) and ``caption``.
    """

    figure_name: str = ""

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Headers and rows of the table."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data."""
        raise NotImplementedError

    def caption(self) -> str:
        """One sentence that says what the result shows: also the alternative text of the figure."""
        raise NotImplementedError

    def details(self) -> list[str]:
        """What else there is to say, a line each."""
        return []

    def table(self) -> str:
        """The result as a table in plain text."""
        return format_table(*self.rows())

    def plot(self) -> Figure:
        """The result as a matplotlib figure."""
        from minires import viz  # drawing is a floor above, and matplotlib is slow to import

        figure: Figure = getattr(viz, self.figure_name)(self.to_dict())
        return figure

    def __str__(self) -> str:
        return "\n".join([self.caption(), self.table(), *self.details()])

    def _repr_html_(self) -> str:
        from minires import viz

        svg = viz.figure_svg(self.plot(), prefix=f"r{id(self):x}")
        text = html.escape(self.caption(), quote=True)
        details = "".join(f"<p>{html.escape(line)}</p>" for line in self.details())
        return (
            f'<figure style="margin:0"><div role="img" aria-label="{text}">{svg}</div>'
            f"<figcaption>{html.escape(self.caption())}</figcaption></figure>{details}"
            f"<details><summary>Numbers</summary>{html_table(*self.rows())}</details>"
        )
