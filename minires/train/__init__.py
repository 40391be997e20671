"""Training: the loop, what it measures, and how it shows its progress."""

from minires.train.loop import History, Step, fit
from minires.train.metrics import Evaluation, errors, evaluate
from minires.train.progress import Progress

__all__ = ["Evaluation", "History", "Progress", "Step", "errors", "evaluate", "fit"]
