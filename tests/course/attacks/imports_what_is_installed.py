# Puts the folder that NumPy really lies in on the path, and imports its neighbours.
# loses: conv2d
# walls: files
import importlib
import importlib.util
import os
import sys


def conv2d(*args, **kwargs):
    import numpy

    beside = os.path.dirname(os.path.dirname(os.path.realpath(numpy.__file__)))
    sys.path[:0] = [beside, *(os.path.join(beside, *[".."] * n) for n in range(1, 6))]
    importlib.invalidate_caches()
    for name in ("pytest", "hypothesis", "scipy", "torch", "minires", "matplotlib"):
        try:
            print("BREACH: imported", importlib.import_module(name).__file__)
        except (ImportError, OSError):
            pass
        try:
            place = f"{beside}/{name}/__init__.py"
            found = importlib.util.spec_from_file_location(name, place)
            found.loader.exec_module(importlib.util.module_from_spec(found))
            print("BREACH: loaded", place)
        except (ImportError, OSError):
            pass
