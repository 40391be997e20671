"""The pages that grading ends in: one for each student, and one about the class."""

from minires.course.pages.feedback import feedback_html
from minires.course.pages.summary import summary_html

__all__ = ["feedback_html", "summary_html"]
