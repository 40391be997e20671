# Loops in C code, where no signal handler of Python is ever called.
# loses: im2col
def im2col(*args, **kwargs):
    return 9 ** (9**9)
