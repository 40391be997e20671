"""What runs beside the student's code, in a process of its own.

This package is copied beside that process and imported there without the rest of minires: it needs
the standard library and NumPy alone, and its modules import each other by relative names.
"""
