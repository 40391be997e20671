"""The figures of the instruments of :mod:`minires.flow`, each drawn from plain data."""
