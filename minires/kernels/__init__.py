"""The mathematics: plain arrays in, plain arrays out; no graph, no Tensor.

Each kernel stands twice: as loops in :mod:`minires.kernels.reference`, which say what is computed,
and in a fast version, which says how.  The names here run on the rung that :func:`use` chose, and
most of them on CUDA kernels where the arrays are on a GPU (:mod:`minires.kernels.cuda`); of ReLU,
which is one line, there are no loops.
"""

from minires.kernels import conv, elementwise, im2col, norm, pool, reference
from minires.kernels import softmax as _softmax
from minires.kernels.cuda import conv as cuda_conv
from minires.kernels.cuda import elementwise as cuda_elementwise
from minires.kernels.cuda import norm as cuda_norm
from minires.kernels.cuda import pool as cuda_pool
from minires.kernels.cuda import softmax as cuda_softmax
from minires.kernels.ladder import current, dispatch, use
from minires.kernels.parallel import get_num_threads, set_num_threads

conv2d = dispatch(reference.conv2d, conv.conv2d, im2col.conv2d, cuda_conv.conv2d)
conv2d_grad_input = dispatch(
    reference.conv2d_grad_input,
    conv.conv2d_grad_input,
    im2col.conv2d_grad_input,
    cuda_conv.conv2d_grad_input,
)
conv2d_grad_weight = dispatch(
    reference.conv2d_grad_weight,
    conv.conv2d_grad_weight,
    im2col.conv2d_grad_weight,
    cuda_conv.conv2d_grad_weight,
)
conv2d_grads = dispatch(
    reference.conv2d_grads, conv.conv2d_grads, im2col.conv2d_grads, cuda_conv.conv2d_grads
)
max_pool2d = dispatch(reference.max_pool2d, pool.max_pool2d, cuda=cuda_pool.max_pool2d)
max_pool2d_grad_input = dispatch(
    reference.max_pool2d_grad_input,
    pool.max_pool2d_grad_input,
    cuda=cuda_pool.max_pool2d_grad_input,
)
max_pool2d_gather = dispatch(
    reference.max_pool2d_gather, pool.max_pool2d_gather, cuda=cuda_pool.max_pool2d_gather
)
avg_pool2d = dispatch(reference.avg_pool2d, pool.avg_pool2d, cuda=cuda_pool.avg_pool2d)
avg_pool2d_grad_input = dispatch(
    reference.avg_pool2d_grad_input,
    pool.avg_pool2d_grad_input,
    cuda=cuda_pool.avg_pool2d_grad_input,
)
adaptive_avg_pool2d = dispatch(
    reference.adaptive_avg_pool2d, pool.adaptive_avg_pool2d, cuda=cuda_pool.adaptive_avg_pool2d
)
adaptive_avg_pool2d_grad_input = dispatch(
    reference.adaptive_avg_pool2d_grad_input,
    pool.adaptive_avg_pool2d_grad_input,
    cuda=cuda_pool.adaptive_avg_pool2d_grad_input,
)
batch_norm_stats = dispatch(
    reference.batch_norm_stats, norm.batch_norm_stats, cuda=cuda_norm.batch_norm_stats
)
batch_norm_train = dispatch(
    reference.batch_norm_train, norm.batch_norm_train, cuda=cuda_norm.batch_norm_train
)
batch_norm = dispatch(reference.batch_norm, norm.batch_norm, cuda=cuda_norm.batch_norm)
batch_norm_grad = dispatch(
    reference.batch_norm_grad, norm.batch_norm_grad, cuda=cuda_norm.batch_norm_grad
)
softmax = dispatch(reference.softmax, _softmax.softmax, cuda=cuda_softmax.softmax)
log_softmax = dispatch(reference.log_softmax, _softmax.log_softmax, cuda=cuda_softmax.log_softmax)
cross_entropy = dispatch(
    reference.cross_entropy, _softmax.cross_entropy, cuda=cuda_softmax.cross_entropy
)
cross_entropy_grad = dispatch(
    reference.cross_entropy_grad, _softmax.cross_entropy_grad, cuda=cuda_softmax.cross_entropy_grad
)
add_relu = dispatch(elementwise.add_relu, elementwise.add_relu, cuda=cuda_elementwise.add_relu)
relu = dispatch(elementwise.relu, elementwise.relu, cuda=cuda_elementwise.relu)
relu_grad_input = dispatch(
    elementwise.relu_grad_input, elementwise.relu_grad_input, cuda=cuda_elementwise.relu_grad_input
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_grad_input",
    "add_relu",
    "avg_pool2d",
    "avg_pool2d_grad_input",
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_stats",
    "batch_norm_train",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_grads",
    "cross_entropy",
    "cross_entropy_grad",
    "current",
    "get_num_threads",
    "log_softmax",
    "max_pool2d",
    "max_pool2d_gather",
    "max_pool2d_grad_input",
    "reference",
    "relu",
    "relu_grad_input",
    "set_num_threads",
    "softmax",
    "use",
]
