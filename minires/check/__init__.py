"""Checks of hand-written operations: gradients against differences, and mistakes by name.

``gradcheck`` and ``gradgradcheck`` hold gradients against differences.

``diagnose`` judges a learner's backward and names the mistake in it, if it is one of those in the
bank (:mod:`minires.check.mistakes`).
"""

from minires.check.diagnose import diagnose
from minires.check.diagnosis import Diagnosis
from minires.check.gradcheck import gradcheck, gradgradcheck
from minires.check.gradcheck_report import GradcheckError, GradcheckReport

__all__ = [
    "Diagnosis",
    "GradcheckError",
    "GradcheckReport",
    "diagnose",
    "gradcheck",
    "gradgradcheck",
]
