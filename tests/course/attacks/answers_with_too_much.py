# Returns an answer of a hundred megabytes.
# loses: pad
import numpy as np


def pad(x, padding):
    return np.zeros(100 << 17)
