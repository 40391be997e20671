"""How the tasks of a06 are run: tensors are made, modules get their numbers, a gradient comes back.

Parameters and buffers are set by the names that the docstrings prescribe; a projection is found by
its kind.  All is computed in the dtype of x.
"""

import numpy as np

import minires as mr
from minires import nn


def pad_shortcut(submission, x, out_channels, stride, grad_out):
    """What the shortcut gives, and the gradient that comes back through it."""
    x = mr.Tensor(x, requires_grad=True)
    return _there_and_back(submission.pad_shortcut(x, out_channels, stride), x, grad_out)


def make_shortcut(submission, x, out_channels, stride, option, numbers, grad_out):
    """Output, gradients, and the number of parameters; ``numbers`` are for a projection."""
    shortcut = submission.make_shortcut(x.shape[1], out_channels, stride, option)
    shortcut.to(x.dtype)
    projection = _projection(shortcut)
    if projection:  # ones, where there should be none
        ones = {name: np.ones(tensor.shape) for name, tensor in projection.items()}
        _fill_projection(shortcut, numbers or ones)
    return {"is a projection": bool(projection), **_run(shortcut, x, grad_out, projection)}


def BasicBlock(submission, x, settings, numbers, grad_out, training=True):
    """Output, gradients, and the number of parameters; ``settings`` are the block's arguments."""
    block = submission.BasicBlock(x.shape[1], **settings)
    return _run_block(block, x, numbers, grad_out, training)


def PreActivationBlock(submission, x, settings, numbers, grad_out, training=True):
    """Output, gradients, and the number of parameters; ``settings`` are the block's arguments."""
    block = submission.PreActivationBlock(x.shape[1], **settings)
    return _run_block(block, x, numbers, grad_out, training)


def deepen(submission, x, channels, count, numbers, grad_out):
    """What the deeper stage computes, what its new blocks learn, and what it is once they have."""
    stage = nn.Sequential()
    for i, C in enumerate(channels):
        stage.append(submission.BasicBlock(x.shape[1] if i == 0 else channels[i - 1], C))
    for block, values in zip(stage, numbers, strict=False):
        _fill(block, values)
    given = list(stage)
    deeper = submission.deepen(stage, count)
    deeper.to(x.dtype)
    blocks = list(deeper)
    added = blocks[len(channels) :]
    convs = [conv.weight.data for block in added for conv in (block.conv1, block.conv2)]
    has_weights = all(bool(weight.any()) for weight in convs)
    for block, values in zip(added, numbers[len(channels) :], strict=False):
        _fill(block, values)

    tensor = mr.Tensor(x, requires_grad=True)
    found = _there_and_back(deeper(tensor), tensor, grad_out)
    found["blocks"] = len(blocks)
    found["same blocks first"] = all(a is b for a, b in zip(blocks, given, strict=False))
    found["the stage is as it was"] = list(stage) == given
    found["the new convolutions have weights"] = has_weights
    found["grads of the new bn2.weight"] = [_grad(block.bn2.weight) for block in added]
    found["grads of the new bn2.bias"] = [_grad(block.bn2.bias) for block in added]
    deeper.eval()
    found["out in evaluation mode"] = _array(deeper(mr.Tensor(x)))
    deeper.train()
    for block in added:
        block.bn2.weight.data = np.full_like(block.bn2.weight.data, 0.5)
    found["out when the new weights are 0.5"] = _array(deeper(mr.Tensor(x)))
    return found


def _run_block(block, x, numbers, grad_out, training):
    block.to(x.dtype)
    own = {name: values for name, values in numbers.items() if not name.startswith("shortcut")}
    _fill(block, own)
    watched = {name: _find(block, name) for name in own if "running" not in name}
    if len(own) < len(numbers):
        _fill_projection(
            block.shortcut,
            {name.removeprefix("shortcut "): numbers[name] for name in numbers if name not in own},
        )
        projection = _projection(block.shortcut)
        watched |= {f"shortcut {name}": tensor for name, tensor in projection.items()}
    block.train(training)
    return _run(block, x, grad_out, watched)


def _run(module, x, grad_out, watched):
    tensor = mr.Tensor(x, requires_grad=True)
    found = _there_and_back(module(tensor), tensor, grad_out)
    found["grads"] = {name: _grad(parameter) for name, parameter in watched.items()}
    found["number of parameters"] = sum(p.data.size for p in module.parameters())
    return found


def _there_and_back(out, x, grad_out):
    """Output and gradient; None for the gradient if none comes back."""
    if getattr(out, "requires_grad", False) and out.shape == grad_out.shape:
        out.backward(mr.Tensor(grad_out))
    return {"out": _array(out), "grad_x": _grad(x)}


def _grad(tensor):
    return None if tensor.grad is None else _array(tensor.grad)


def _array(tensor):
    return np.array(getattr(tensor, "data", tensor))


def _fill(module, numbers):
    """Set parameters and buffers by name."""
    for name, values in numbers.items():
        tensor = _find(module, name)
        if tuple(tensor.shape) != values.shape:
            raise ValueError(f"{name} should have the shape {values.shape}, not {tensor.shape}")
        tensor.data = values.astype(tensor.data.dtype)


def _find(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def _projection(shortcut):
    """The parameters of a projection by name; {} for a shortcut that has none."""
    convs = [m for m in shortcut.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in shortcut.modules() if isinstance(m, nn.BatchNorm2d)]
    if not convs and not norms:
        return {}
    if len(convs) != 1 or len(norms) != 1:
        raise ValueError(
            "a projection is one nn.Conv2d and one nn.BatchNorm2d; "
            f"here are {len(convs)} and {len(norms)}"
        )
    return {
        "conv.weight": convs[0].weight,
        "bn.weight": norms[0].weight,
        "bn.bias": norms[0].bias,
    }


def _fill_projection(shortcut, numbers):
    projection = _projection(shortcut)
    if not projection:
        raise ValueError("this shortcut should be a projection, with nn.Conv2d and nn.BatchNorm2d")
    for name, values in numbers.items():
        if tuple(projection[name].shape) != values.shape:
            shape = tuple(projection[name].shape)
            raise ValueError(f"{name} of the projection should be {values.shape}, not {shape}")
        projection[name].data = values.astype(projection[name].data.dtype)
