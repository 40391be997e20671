# %%
"""A gradient checker.

Fill in the functions whose body raises NotImplementedError, in any order; the handout has a section
on each.  Here is a function with its backward pass to try them on.
"""

import numpy as np


# %%
def softmax(x):
    """Every row of x (N, K) becomes positive and adds up to 1."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(grad_out, x):
    """The gradient by x of (softmax(x) * grad_out).sum()."""
    p = softmax(x)
    return p * (grad_out - (grad_out * p).sum(axis=1, keepdims=True))


# %% task: numeric_gradient
def numeric_gradient(f, x):
    """The gradient of a number, by central differences in float64.

    f: a function of an array of the shape of x, which returns a number.
    x: an array of any shape.
    Returns an array of the shape of x: the derivatives of f(x) by the elements of x.

    No element may be further off than 4e-9 of the largest element of the gradient.  The step is
    yours to choose.  f is smooth: where an element of x moves by much less than 1, f is nearly
    straight; with an element larger than 1, where it moves by much less than its size.  x may hold
    0, and numbers of 100,000.  After the call x is what it was.

    >>> grad = numeric_gradient(lambda x: float((x**3).sum()), np.array([[1.0, 2.0], [0.0, -1.0]]))
    >>> np.round(grad, 6) + 0.0
    array([[ 3., 12.],
           [ 0.,  3.]])
    """
    raise NotImplementedError("numeric_gradient")


# %% task: numeric_vjp
def numeric_vjp(f, x, w):
    """The product of a cotangent with the Jacobian of f, by differences: J^T w.

    f: a function of an array of the shape of x, which returns an array.
    x: an array.
    w: the cotangent, an array of the shape of f(x).
    Returns an array of the shape of x: the gradient of (w * f(x)).sum() by x, as accurate as that
    of numeric_gradient.

    >>> x, w = np.array([1.0, 2.0]), np.array([10.0, 100.0])
    >>> np.round(numeric_vjp(np.cumsum, x, w), 6)
    array([110., 100.])
    """
    raise NotImplementedError("numeric_vjp")


# %% task: directional_pair
def directional_pair(f, backward, x, w, d):
    """One number, twice: by differences of f along d, and by backward.

    f: a function of an array of the shape of x, which returns an array.
    backward: the backward pass to be checked: backward(grad_out, x) -> an array of x's shape.
    x: an array, of numbers about 1.
    w: the cotangent, an array of the shape of f(x).
    d: the direction, an array of the shape of x; of any length, but not 0.
    Returns (numeric, analytic), two numbers:

    - numeric, the derivative of (w * f(x + t d)).sum() by t at t = 0, by a central difference with
      a step that suits the length of d, to six digits; f is called at two points;
    - analytic, the inner product of backward(w, x) and d.

    >>> numeric, analytic = directional_pair(
    ...     lambda x: x**2,
    ...     lambda grad_out, x: grad_out * 2 * x,
    ...     x=np.array([1.0, 2.0]), w=np.array([1.0, 10.0]), d=np.array([100.0, 0.0]),
    ... )
    >>> round(numeric, 4), analytic
    (200.0, 200.0)
    """
    raise NotImplementedError("directional_pair")


# %% task: relative_error
def relative_error(a, b, floor=0.0):
    """How far a and b are apart, element by element, as a part of their size.

        |a - b| / max(|a|, |b|, floor)

    a, b: arrays of one shape.
    floor: a number, at least 0: how large a number has to be to count as more than noise.
    Returns an array of that shape.  Where the denominator is 0 there is no error: 0.  Where a or b
    is nan or infinite the error is infinite.

    >>> relative_error(np.array([1e-12, 0.0, 3.0]), np.array([2e-12, 0.0, np.nan]))
    array([0.5, 0. , inf])
    >>> relative_error(np.array([1e-12, 4.0]), np.array([2e-12, 3.0]), floor=1e-6)
    array([1.0e-06, 2.5e-01])
    """
    raise NotImplementedError("relative_error")


# %% task: one_sided_slopes
def one_sided_slopes(f, x, index):
    """The slopes of f on either side of x, if one element moves.

    f: a function of an array of the shape of x, which returns a number.
    x: an array, of numbers about 1.
    index: a tuple, the element of x that moves.
    Returns (left, right): the slopes for x[index] a little smaller, and a little larger, than it
    is.  Both are to be right up to 1e-5 of the larger one.  Where f is smooth they are equal; at a
    kink they are not.  No kink is closer than 1e-3 to x without being exactly there.  After the
    call x is what it was.

    >>> left, right = one_sided_slopes(lambda x: abs(x[0]) + 3 * x[0], np.array([0.0]), (0,))
    >>> round(left, 4), round(right, 4)
    (2.0, 4.0)
    """
    raise NotImplementedError("one_sided_slopes")


# %% task: judge
def judge(analytic, left, right, tol=1e-5, floor=0.0):
    """Whether one number of a gradient is right, wrong, or at a kink.

    analytic: what the backward pass says, a number.
    left, right: the slopes of the two sides, finite numbers.
    tol, floor: what is allowed is tol * max(|analytic|, |left|, |right|, floor).
    Returns a text:

    - 'wrong' if analytic is further outside of the interval between left and right than is allowed,
      or is not finite;
    - otherwise 'kink' if left and right are further apart than is allowed;
    - otherwise 'right'.

    >>> judge(2.0, left=2.0000001, right=1.9999999)
    'right'
    >>> judge(0.0, left=0.0, right=1.0), judge(1.5, left=0.0, right=1.0)
    ('kink', 'wrong')
    """
    raise NotImplementedError("judge")


# %% task: check
def check(fn, backward, inputs, rng, tol=1e-5):
    """Hold a backward pass against differences: which gradient is wrong, and where.

    fn: a function of some arrays, given by name, which returns an array: fn(**inputs).
    backward: backward(grad_out, **inputs) -> a dict with a gradient for each name.  It may change
        the arrays that it is given.
    inputs: a dict from names to arrays of numbers about 1; after the call they are what they were.
    rng: a generator, np.random.default_rng(...), for the cotangent.
    tol: up to this relative error an element is right.
    Returns a dict with the names of the inputs whose gradient is wrong, and no others; {} if all is
    right.  With the name goes the text 'shape' if the gradient has another shape than the input, or
    else a list of all elements that are wrong, as tuples of whole numbers.

    An element that is wrong is off by at least 1 percent of its size, or not finite.  The outputs
    may all be tiny, of the size of 1e-9 say.  An element whose gradient is 0 is not wrong for the
    rounding of the differences.  At a kink every slope between the two sides is right.  What is
    wrong has to be found although the outputs may add up to a constant.

    >>> wrong = lambda grad_out, x: {"x": np.where(x == 2.0, 2.0, 1.0) * grad_out * 2 * x}
    >>> check(lambda x: x**2, wrong, {"x": np.array([1.0, 2.0])}, np.random.default_rng(0))
    {'x': [(1,)]}
    """
    raise NotImplementedError("check")
