"""The exercises of the tutorials: an attempt goes in, a verdict that helps comes out.

Each tutorial has a module here, and each of its exercises a function in it, which takes the
learner's attempt:

    from minires.exercises import convolution

    convolution.columns(my_columns)         # passed, not yet, or wrong, and why

A verdict shows itself in a notebook and says in ``.passed`` whether the attempt is right.  Nothing
here raises for what a learner writes: an attempt that fails is a verdict too.
"""
