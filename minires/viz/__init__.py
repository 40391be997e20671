"""Figures, tables, the report and the page of the microscope, drawn from plain data.

Nothing here needs a display or touches pyplot; matplotlib is imported by the first figure.
"""

from minires.viz.figures import gradient_flow, ledger_figure, training_curves
from minires.viz.flowpage import flow_page
from minires.viz.flowpage.instruments import instrument_figure
from minires.viz.gradcheck import gradcheck_figure
from minires.viz.instruments.comparison import comparison_figure
from minires.viz.instruments.contracts import contracts_figure
from minires.viz.instruments.dial import dial_figure
from minires.viz.instruments.jacobian import jacobian_figure
from minires.viz.instruments.landscape import hessian_figure, landscape_figure
from minires.viz.instruments.lesions import backward_lesion_figure, forward_lesion_figure
from minires.viz.instruments.shattering import shattering_figure
from minires.viz.instruments.signals import recording_figure, signal_figure
from minires.viz.instruments.spectrum import paths_figure, spectrum_figure
from minires.viz.report import compare_report, figure_png, figure_svg
from minires.viz.tables import summary_rows

__all__ = [
    "backward_lesion_figure",
    "compare_report",
    "comparison_figure",
    "contracts_figure",
    "dial_figure",
    "figure_png",
    "figure_svg",
    "flow_page",
    "forward_lesion_figure",
    "gradcheck_figure",
    "gradient_flow",
    "hessian_figure",
    "instrument_figure",
    "jacobian_figure",
    "landscape_figure",
    "ledger_figure",
    "paths_figure",
    "recording_figure",
    "shattering_figure",
    "signal_figure",
    "spectrum_figure",
    "summary_rows",
    "training_curves",
]
