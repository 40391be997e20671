"""The kernels for a GPU: CUDA by hand where array code would read memory more often than needed.

Each module binds one source (``norm.py`` binds ``norm.cu``) to the signatures of the NumPy kernels
in :mod:`minires.kernels`, which call it for CuPy arrays.  Results are those of the NumPy kernels,
up to rounding, and have the same bits each time: no kernel adds with atomics, so no sum depends on
which thread comes first.
"""
