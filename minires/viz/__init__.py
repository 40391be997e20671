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

# For the time being, until all of them are there: figures of the instruments, imported when asked.
_INSTRUMENTS = {
    "spectrum_figure": "spectrum",
    "paths_figure": "spectrum",
    "backward_lesion_figure": "lesions",
    "forward_lesion_figure": "lesions",
    "dial_figure": "dial",
    "jacobian_figure": "jacobian",
    "landscape_figure": "landscape",
    "shattering_figure": "shattering",
    "signal_figure": "signals",
    "recording_figure": "signals",
    "contracts_figure": "contracts",
    "comparison_figure": "comparison",
}


def __getattr__(name: str):  # type: ignore[no-untyped-def]
    if name in _INSTRUMENTS:
        from importlib import import_module

        return getattr(import_module(f"minires.viz.instruments.{_INSTRUMENTS[name]}"), name)
    raise AttributeError(name)
