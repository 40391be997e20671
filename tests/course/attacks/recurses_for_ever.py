# Calls itself without end.
# loses: conv2d
def conv2d(*args, **kwargs):
    return conv2d(*args, **kwargs)
