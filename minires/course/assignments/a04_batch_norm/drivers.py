"""How two tasks of a04 are run.

The layer is made and given its numbers, and then taken through steps.  A step is (training, x,
grad_out): one forward pass, and a backward pass after it if there is a grad_out.
"""

import numpy as np


def update_running(submission, running_mean, running_var, x, **settings):
    """The new statistics, and what is in the old ones afterwards."""
    new_mean, new_var = submission.update_running(running_mean, running_var, x, **settings)
    return {
        "running_mean": np.array(new_mean),
        "running_var": np.array(new_var),
        "old ones afterwards": [running_mean, running_var],
    }


def BatchNorm(submission, start, steps, **settings):
    """What the layer returns in each step, and the running statistics after it."""
    layer = submission.BatchNorm(len(start["weight"]), **settings)
    for name, values in start.items():
        setattr(layer, name, values.copy())
    seen = []
    for training, x, grad_out in steps:
        result = {"out": np.array(layer.forward(x, training))}
        if grad_out is not None:
            grad_x, grad_weight, grad_bias = layer.backward(grad_out)
            result["grad_x"] = np.array(grad_x)
            result["grad_weight"] = np.array(grad_weight)
            result["grad_bias"] = np.array(grad_bias)
        result["running_mean"] = np.array(layer.running_mean)
        result["running_var"] = np.array(layer.running_var)
        seen.append(result)
    return seen
