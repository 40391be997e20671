# Closes every file of the process, and runs on in the dark.
# loses: conv2d
import os
import time


def conv2d(*args, **kwargs):
    os.closerange(0, 64)
    time.sleep(60)
