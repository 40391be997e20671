"""Figures, tables and the report, drawn from plain data.

Nothing here needs a display or touches pyplot; matplotlib is imported by the first figure.
"""

from minires.viz.figures import gradient_flow, ledger_figure, training_curves
from minires.viz.gradcheck import gradcheck_figure
from minires.viz.report import compare_report, figure_png, figure_svg
from minires.viz.tables import summary_rows

__all__ = [
    "compare_report",
    "figure_png",
    "figure_svg",
    "gradcheck_figure",
    "gradient_flow",
    "ledger_figure",
    "summary_rows",
    "training_curves",
]
