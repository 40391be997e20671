"""The microscope: instruments that show where the gradient goes.

Each is a function that takes a model and a batch and returns a result with ``.table()``,
``.plot()`` and ``.to_dict()``, which displays itself in a notebook and carries its own check.
The batch is taken to the device of the model, and a result is plain data on the CPU.
"""

from minires.flow.comparison import Comparison, compare
from minires.flow.contracts import ModelCheck, check_model
from minires.flow.dial import Dial, dial
from minires.flow.edges import lesioned
from minires.flow.hessian import HessianEigenvalue, hessian_eigenvalue
from minires.flow.jacobian import JacobianLens, jacobian_lens
from minires.flow.landscape import Landscape, landscape
from minires.flow.ledger import Ledger, LedgerEntry, ledger
from minires.flow.lesions import BackwardLesion, backward_lesion
from minires.flow.paths import PathSample, sample_paths
from minires.flow.recorder import Recorder
from minires.flow.recording import Recording
from minires.flow.removals import ForwardLesion, forward_lesion
from minires.flow.responses import Signal, signal
from minires.flow.shattering import Shattering, shattering
from minires.flow.shattering_by_depth import shattering_by_depth
from minires.flow.spectrum import PathSpectrum, path_spectrum
from minires.flow.untouched import untouched

__all__ = [
    "BackwardLesion",
    "Comparison",
    "Dial",
    "ForwardLesion",
    "HessianEigenvalue",
    "JacobianLens",
    "Landscape",
    "Ledger",
    "LedgerEntry",
    "ModelCheck",
    "PathSample",
    "PathSpectrum",
    "Recorder",
    "Recording",
    "Shattering",
    "Signal",
    "backward_lesion",
    "check_model",
    "compare",
    "dial",
    "forward_lesion",
    "hessian_eigenvalue",
    "jacobian_lens",
    "landscape",
    "ledger",
    "lesioned",
    "path_spectrum",
    "sample_paths",
    "shattering",
    "shattering_by_depth",
    "signal",
    "untouched",
]
