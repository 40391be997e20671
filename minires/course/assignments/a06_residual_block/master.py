# %%
"""a06 · Residual block and shortcuts A, B, pre-activation.

Run the cells in order, and fill in the functions and classes.  The copy of minires that grades this
has layers, functions and autograd; ``nn.ResidualBlock``, ``minires.models`` and ``minires.flow``
are not in it.
"""

import numpy as np

import minires as mr
import minires.functional as F
from minires import nn

mr.manual_seed(0)  # so that what you try has the same weights every time


# %% task: pad_shortcut
def pad_shortcut(x, out_channels, stride=1):
    """Shortcut A: every ``stride``-th pixel, and zeros in the channels that are new.

    It begins with the pixel in row 0 and column 0, and the new channels come behind those of x
    (He et al. 2015, section 3.3).  A gradient must come back through it: use operations that
    record (indexing of tensors, functions of ``F``).

    Args:
        x: a tensor (N, C, H, W).
        out_channels: C_out, at least C.
        stride: for rows and columns.

    Returns:
        A tensor (N, C_out, ceil(H / stride), ceil(W / stride)).

    >>> x = mr.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> pad_shortcut(x, 2, stride=2).tolist()
    [[[[1.0, 3.0]], [[0.0, 0.0]]]]
    """
    ### BEGIN SOLUTION
    taken = x[:, :, ::stride, ::stride]
    return F.pad(taken, (0, 0, 0, 0, 0, out_channels - x.shape[1]))
    ### END SOLUTION


# %% task: projection_grads
def projection_grads(grad_out, x, weight, stride=1):
    """The gradients of a projection, the 1x1 convolution W_s of shortcut B, in NumPy.

    The projection is out[n, o, i, j] = sum_c weight[o, c, 0, 0] x[n, c, i * stride, j * stride].

    Args:
        grad_out: dLoss/dout, an array (N, C_out, ceil(H / stride), ceil(W / stride)).
        x: what the projection was given, an array (N, C, H, W).
        weight: an array (C_out, C, 1, 1).
        stride: for rows and columns.

    Returns:
        A pair of arrays, grad_x like x and grad_weight like weight.

    >>> grad_out, x = np.array([[[[10.0, 20.0]]]]), np.array([[[[1.0, 2.0, 3.0]]]])
    >>> grad_x, grad_weight = projection_grads(grad_out, x, np.array([[[[2.0]]]]), stride=2)
    >>> grad_x.tolist(), grad_weight.tolist()           # 1 * 10 + 3 * 20
    ([[[[20.0, 0.0, 40.0]]]], [[[[70.0]]]])
    """
    ### BEGIN SOLUTION
    taken = x[:, :, ::stride, ::stride]  # (N, C, OH, OW)
    grad_weight = np.einsum("nohw,nchw->oc", grad_out, taken)[:, :, None, None]
    grad_x = np.zeros_like(x)
    grad_x[:, :, ::stride, ::stride] = np.einsum("nohw,oc->nchw", grad_out, weight[:, :, 0, 0])
    return grad_x, grad_weight
    ### END SOLUTION


# %% task: residual_grads
def residual_grads(grad_out, x, w1, w2, w_s=None):
    """The gradients of a whole residual block of linear layers, in NumPy.

    The block has a ReLU in the branch and one after the sum, and a projection if w_s is given
    (He et al. 2015, equations 1 and 2, with the second ReLU of their section 3.2):

        y = relu(skip + relu(x w1^T) w2^T)      with skip = x, or x w_s^T

    The slope of a ReLU is 1 above 0 and 0 elsewhere.

    Args:
        grad_out: dLoss/dy, an array (N, D_out).
        x: an array (N, D).
        w1, w2: arrays (M, D) and (D_out, M).
        w_s: an array (D_out, D), or None for the identity, where D_out is D.

    Returns:
        Four arrays, grad_x, grad_w1, grad_w2, grad_w_s, each like what it is the gradient of; the
        last is None where w_s is.

    >>> one = np.array([[1.0]])
    >>> grads = residual_grads(5 * one, 3 * one, 2 * one, 4 * one, one)     # y = 3 + 2 * 3 * 4
    >>> [grad.item() for grad in grads]
    [45.0, 60.0, 30.0, 15.0]
    """
    ### BEGIN SOLUTION
    skip = x if w_s is None else x @ w_s.T  # (N, D_out)
    hidden = x @ w1.T  # (N, M)
    active = np.maximum(hidden, 0)
    z = skip + active @ w2.T
    d = grad_out * (z > 0)  # at the sum, the same for both ways

    grad_w2 = d.T @ active
    grad_hidden = (d @ w2) * (hidden > 0)
    grad_w1 = grad_hidden.T @ x
    through_branch = grad_hidden @ w1
    over_skip = d if w_s is None else d @ w_s
    grad_w_s = None if w_s is None else d.T @ x
    return over_skip + through_branch, grad_w1, grad_w2, grad_w_s
    ### END SOLUTION


# %% task: make_shortcut
def make_shortcut(in_channels, out_channels, stride, option):
    """The shortcut of a block of 2015, by the options of He et al. 2015 (sections 3.3 and 4.1).

    The dimensions change if the numbers of channels differ or the stride is not 1.

        option   where they change                        where they stay
        "A"      ``pad_shortcut``                         the identity
        "B"      projection                               the identity
        "C"      projection                               projection

    A projection is a 1x1 convolution with the stride and without a bias, and batch norm behind it;
    no ReLU.

    Args:
        in_channels, out_channels: C and C_out.
        stride: a number.
        option: "A", "B" or "C".

    Returns:
        An ``nn.Module`` that takes a tensor (N, C, H, W).

    >>> [make_shortcut(2, 4, 2, option)(mr.ones(1, 2, 6, 6)).shape for option in "ABC"]
    [(1, 4, 3, 3), (1, 4, 3, 3), (1, 4, 3, 3)]
    >>> [len(list(make_shortcut(4, 4, 1, option).parameters())) for option in "ABC"]
    [0, 0, 3]
    """
    ### BEGIN SOLUTION
    changes = in_channels != out_channels or stride != 1
    if option == "C" or (option == "B" and changes):
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    if changes:
        return PadShortcut(out_channels, stride)
    return nn.Identity()
    ### END SOLUTION


### BEGIN SOLUTION
class PadShortcut(nn.Module):
    """``pad_shortcut`` as a module."""

    def __init__(self, out_channels, stride):
        super().__init__()
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x):
        """(N, C, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return pad_shortcut(x, self.out_channels, self.stride)


### END SOLUTION


# %% task: BasicBlock
class BasicBlock(nn.Module):
    """The basic block of He et al. 2015: y = relu(shortcut(x) + F(x)).

    F is conv1, bn1, ReLU, conv2, bn2: two 3x3 convolutions with padding 1 and without a bias, and
    batch norm behind each.  conv1 has the stride and goes from ``in_channels`` to ``channels``.

    The parts must have these names: ``conv1``, ``bn1``, ``conv2``, ``bn2`` and ``shortcut``, which
    is what ``make_shortcut`` gives for the option.

    Args:
        in_channels, channels: C and C_out.
        stride: of the block.
        option: of the shortcut: "A", "B" or "C".

    The block takes a tensor (N, C, H, W) and gives (N, C_out, ceil(H / stride), ceil(W / stride)).

    >>> BasicBlock(2, 4, stride=2)(mr.ones(1, 2, 5, 6)).shape
    (1, 4, 3, 3)
    """

    def __init__(self, in_channels, channels, stride=1, option="A"):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = make_shortcut(in_channels, channels, stride, option)
        ### END SOLUTION

    def forward(self, x):
        """(N, C, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        ### BEGIN SOLUTION
        inner = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(inner))
        return F.relu(self.shortcut(x) + branch)
        ### END SOLUTION


# %% task: PreActivationBlock
class PreActivationBlock(nn.Module):
    """The block of He et al. 2016, with full pre-activation.

    Nothing follows the sum.  There are three kinds of block:

        ordinary      x + F(x)            F is bn1, ReLU, conv1, bn2, ReLU, conv2
        dimensions    W_s u + G(u)        u = relu(bn1(x)) comes before the two ways part;
        change                            G is conv1, bn2, ReLU, conv2
        first of      as one of the two, but with u = x and without bn1: what the first block is
        the network   given has just been through batch norm and ReLU (so F is G, and the skip is
                      x or W_s x)

    Both convolutions are 3x3 with padding 1; conv1 has the stride and goes from ``in_channels`` to
    ``channels``.  W_s is a 1x1 convolution with the stride.  No convolution has a bias, and there
    is no batch norm behind W_s.

    The parts must have these names: ``bn1`` (not in a first block), ``conv1``, ``bn2``, ``conv2``,
    and ``projection`` for W_s (only where the number of channels changes or the stride is not 1).

    Args:
        in_channels, channels: C and C_out.
        stride: of the block.
        first: whether it is the first block of the network.

    >>> block = PreActivationBlock(2, 4, stride=2)
    >>> block(mr.ones(1, 2, 5, 6)).shape, len(list(block.parameters()))
    ((1, 4, 3, 3), 7)
    """

    def __init__(self, in_channels, channels, stride=1, first=False):
        super().__init__()
        ### BEGIN SOLUTION
        self.first = first
        self.changes = in_channels != channels or stride != 1
        if not first:
            self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        if self.changes:
            self.projection = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
        ### END SOLUTION

    def forward(self, x):
        """(N, C, H, W) to (N, C_out, ceil(H / stride), ceil(W / stride))."""
        ### BEGIN SOLUTION
        u = x if self.first else F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(u))))
        skip = self.projection(u) if self.changes else x
        return skip + branch
        ### END SOLUTION


# %% task: deepen
def deepen(stage, count):
    """A deeper stage that computes the same function.

    The blocks of ``stage`` are followed by ``count`` new ones with as many channels, stride 1 and
    option "A".  Each new block gives back what it is given, to the last bit, in training and in
    evaluation mode, whatever the weights of its convolutions are; and it can learn: its branch
    gets a gradient, and one number a channel is all that holds it at 0.  All else in a new block is
    as ``BasicBlock`` makes it.

    Args:
        stage: an ``nn.Sequential`` of ``BasicBlock``s, not empty; nothing in it is changed.
        count: of new blocks, at least 1.

    Returns:
        A new ``nn.Sequential``: the blocks of ``stage`` themselves, then the new ones.

    >>> stage = nn.Sequential(BasicBlock(2, 4, stride=2))
    >>> deeper, x = deepen(stage, 3), mr.randn(2, 2, 6, 6)
    >>> len(deeper), bool((deeper(x).data == stage(x).data).all())
    (4, True)
    """
    ### BEGIN SOLUTION
    channels = stage[-1].conv2.weight.shape[0]
    added = [BasicBlock(channels, channels) for _ in range(count)]
    for block in added:
        nn.init.zeros_(block.bn2.weight)
    return nn.Sequential(*stage, *added)
    ### END SOLUTION
