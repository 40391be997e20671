# Stops its process, as Ctrl-Z would, so that it neither runs nor ends.
# loses: pad
# wall: 2
import signal


def pad(x, padding):
    signal.raise_signal(signal.SIGSTOP)
