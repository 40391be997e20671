# Walks through the frames and all objects of the process for the solution or the expected values.
# loses: im2col
import gc
import sys
import types

import numpy as np

mine = None


def im2col(x, KH, KW, *args, **kwargs):
    frame, found = sys._getframe(), []
    while frame:
        found += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    found += gc.get_objects()
    for thing in found:
        named = isinstance(thing, types.FunctionType) and thing.__name__ == "im2col"
        if named and thing.__code__ is not mine.__code__ and thing.__module__ != "submission":
            print("BREACH: a solution is here")
            return thing(x, KH, KW, *args, **kwargs)
        if isinstance(thing, np.ndarray) and thing.ndim == 3 and thing is not x:
            print("BREACH: an array of the shape of an answer is here", thing.shape)
            return thing
    return None


mine = im2col
