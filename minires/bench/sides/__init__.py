"""The frameworks that are measured, a file each; run by path, see :mod:`minires.bench.worker`.

Each file has ``setup(threads)``, which imports the framework and returns its version, and a
function for each kind of work it knows (``network``, ``conv``, ``pool``, ``norm``, ``chain``).
Such a function takes a specification and the inputs, and returns one step to be timed and the
number of parameters.  Importing a file imports no framework but minires.

Those that work on a GPU also have ``use(device)``, ``event()`` and ``elapsed(start, end)``, by
which steps are timed, ``step_memory(step)``, and the work ``bandwidth``.
"""
