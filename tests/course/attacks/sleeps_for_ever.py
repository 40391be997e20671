# Sleeps, which takes no processor time.
# loses: conv2d_grad_bias
# wall: 2
import time


def conv2d_grad_bias(grad_out):
    while True:
        time.sleep(1e6)
