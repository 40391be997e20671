# Prints without end.
# loses: conv2d_grad_bias
def conv2d_grad_bias(grad_out):
    line = "x" * (1 << 20)
    while True:
        print(line)
