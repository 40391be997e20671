"""Training: the loop, what it measures, and how it shows its progress."""

from minires.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minires.train.loop import History, Step, fit
from minires.train.metrics import Evaluation, errors, evaluate
from minires.train.progress import Progress

__all__ = [
    "Checkpoint",
    "Evaluation",
    "History",
    "Progress",
    "Step",
    "errors",
    "evaluate",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
]
