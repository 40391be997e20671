"""Training: the loop, what it measures, and how it shows its progress."""

from minires.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minires.train.history import History, Step
from minires.train.loop import STOP, Training, fit
from minires.train.metrics import Evaluation, errors, evaluate
from minires.train.progress import Progress
from minires.train.recipes import RECIPES, Recipe

__all__ = [
    "RECIPES",
    "STOP",
    "Checkpoint",
    "Evaluation",
    "History",
    "Progress",
    "Recipe",
    "Step",
    "Training",
    "errors",
    "evaluate",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
]
