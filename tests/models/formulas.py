"""The networks once more, in plain NumPy and float64, read off the figures of the papers.

A block is a row of words, as He et al. 2016, figure 4 draws it.  The n-th "conv" of a block is its
parameter conv{n}, and the n-th "bn" its bn{n}.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

# Branch, what follows the sum, and what precedes the head.
ORDERS: dict[str, tuple[str, str, str]] = {
    "original": ("conv bn relu", "relu", ""),
    "bn-after-addition": ("conv bn relu", "bn relu", ""),
    "relu-before-addition": ("conv bn relu", "", ""),
    "relu-only-preactivation": ("relu conv bn", "", "relu"),
    "full-preactivation": ("bn relu conv", "", "bn relu"),
}
CUT = {"original": 1, "bn-after-addition": 2}  # words at the end that are not in the branch


def conv(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """k x k with padding k // 2, a loop over the taps."""
    k = weight.shape[2]
    N, _, H, W = x.shape
    padded = np.pad(x, [(0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)])
    OH, OW = (H - 1) // stride + 1, (W - 1) // stride + 1
    out = np.zeros((N, len(weight), OH, OW))
    for i in range(k):
        for j in range(k):
            taps = padded[:, :, i : i + H : stride, j : j + W : stride]
            out += np.einsum("nchw,dc->ndhw", taps, weight[:, :, i, j])
    return out


def bn(x: np.ndarray, p: Arrays, name: str) -> np.ndarray:
    """With the statistics of the batch; nothing in a network without norm."""
    if f"{name}.weight" not in p:
        return x
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    return (x - mean) / np.sqrt(var + 1e-5) * weight[:, None, None] + bias[:, None, None]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def biased(x: np.ndarray, p: Arrays, name: str) -> np.ndarray:
    """x plus the bias of a convolution, if it has one."""
    return x + p[f"{name}.bias"][:, None, None] if f"{name}.bias" in p else x


class Row:
    """Runs words on an array; the counts go on from one row of words to the next."""

    def __init__(self, p: Arrays, strides: list[int]):
        self.p, self.strides = p, strides
        self.convs = self.norms = 0

    def run(self, x: np.ndarray, words: list[str]) -> np.ndarray:
        for word in words:
            if word == "conv":
                self.convs += 1
                name = f"conv{self.convs}"
                x = conv(x, self.p[f"{name}.weight"], self.strides[self.convs - 1])
                x = biased(x, self.p, name)
            elif word == "bn":
                self.norms += 1
                x = bn(x, self.p, f"bn{self.norms}")
            else:
                x = relu(x)
        return x


def projection(u: np.ndarray, p: Arrays, stride: int) -> np.ndarray:
    """A 1x1 convolution and its batch norm, where it has one."""
    u = biased(conv(u, p["downsample.0.weight"], stride), p, "downsample.0")
    return bn(u, p, "downsample.1")


def gate(u: np.ndarray, p: Arrays) -> np.ndarray:
    return sigmoid(biased(conv(u, p["downsample.gate.weight"]), p, "downsample.gate"))


def factors(skip: str, u: np.ndarray, p: Arrays) -> tuple[Any, Any]:
    """What is on the shortcut and on F: He et al. 2016, table 1."""
    g = gate(u, p) if "gating" in skip else 0.0
    return {
        "constant-scaling": (0.5, 0.5),
        "constant-scaling-skip": (0.5, 1.0),
        "exclusive-gating": (1.0 - g, g),
        "shortcut-only-gating": (1.0 - g, 1.0),
    }.get(skip, (1.0, 1.0))


def block(
    x: np.ndarray,
    p: Arrays,
    *,
    order: str = "original",
    skip: str = "identity",
    stride: int = 1,
    stride_at: int = 0,
    first: bool = False,
    residual: bool = True,
    survival: float = 1.0,
) -> np.ndarray:
    """One block, whose parameters p have the names that they have in it."""
    layers = sum(name.startswith("conv") and name.endswith("weight") for name in p)
    unit, after, _ = ORDERS[order]
    words = unit.split() * layers
    end = len(words) - CUT.get(order, 0)
    begin = words.index("conv")
    channels_in = p["conv1.weight"].shape[1]
    grows = stride > 1 or p[f"conv{layers}.weight"].shape[0] != channels_in
    row = Row(p, [stride if i == stride_at else 1 for i in range(layers)])
    projects = "downsample.0.weight" in p
    if first:
        row.norms += words[:begin].count("bn")  # the stem has done it
        u, words = x, words[begin:end]
    elif grows or projects:
        u, words = row.run(x, words[:begin]), words[begin:end]
    else:
        u, words = x, words[:end]
    F = row.run(u, words)
    if not residual:
        return row.run(F, after.split())
    on_skip: Any = 1.0
    S = u
    if projects:
        S = projection(u, p, stride)
    elif grows:
        S = np.zeros_like(F)
        S[:, :channels_in] = u[:, :, ::stride, ::stride]
    else:
        on_skip, on_branch = factors(skip, u, p)
        F = on_branch * F
    F = survival * p.get("branch_scale", np.ones(1)) * F
    return row.run(on_skip * S + F, after.split())


def under(p: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) :]: a for name, a in p.items() if name.startswith(prefix)}


def network(
    x: np.ndarray, p: Arrays, *, order: str = "original", stride_at: int = 0, **options: Any
) -> np.ndarray:
    """Logits of a network of the CIFAR family."""
    x = relu(bn(biased(conv(x, p["conv1.weight"]), p, "conv1"), p, "bn1"))
    for stage in (1, 2, 3):
        count = 1 + max(int(n.split(".")[1]) for n in p if n.startswith(f"layer{stage}."))
        for i in range(count):
            x = block(
                x,
                under(p, f"layer{stage}.{i}."),
                order=order,
                stride=2 if stage > 1 and i == 0 else 1,
                stride_at=stride_at,
                first=stage == 1 and i == 0,
                **options,
            )
    for word in ORDERS[order][2].split():
        x = bn(x, p, "bn2") if word == "bn" else relu(x)
    return x.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]


def arrays(model: Any) -> Arrays:
    """The parameters of a model, in float64."""
    return {name: p.data.astype(np.float64) for name, p in model.named_parameters()}
