# Catches whatever is raised to end it.
# loses: conv2d
def conv2d(*args, **kwargs):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
