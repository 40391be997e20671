# Loops in Python.
# loses: im2col
def im2col(*args, **kwargs):
    while True:
        pass
