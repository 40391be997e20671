"""A matplotlib figure that shows itself in a notebook, without pyplot.

This module imports matplotlib at its top, so the rest of the package imports it only inside
functions.  Figures made here belong to no window and to no global list: they vanish with their
last reference and need no display.
"""

from __future__ import annotations

import io
from typing import Any

from minires.viz import style

style.import_matplotlib()

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

__all__ = ["NotebookFigure", "new_figure"]

_NOTEBOOK_DPI = 144


class NotebookFigure(Figure):
    """A figure with an Agg canvas, an alternative text, and a picture for notebooks.

    matplotlib's own class shows itself only after pyplot has been imported and has chosen the
    inline backend.
    """

    alt: str = ""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        """The picture with its size on the page and its alternative text, as IPython takes it."""
        buffer = io.BytesIO()
        with style.context():
            self.savefig(buffer, format="png", dpi=_NOTEBOOK_DPI)
        width, height = (round(inches * 96) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height, "alt": self.alt}


def new_figure(width: float, height: float) -> NotebookFigure:
    """An empty figure of the given size in inches, tied to no window.

    >>> new_figure(4, 3).get_size_inches().tolist()
    [4.0, 3.0]
    """
    figure = NotebookFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure
