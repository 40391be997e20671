# Lifts the limit of the recursion, until the stack is full and the process crashes.
# loses: conv2d
import sys


class Node:
    def __getattr__(self, name):
        return getattr(self, name)


def conv2d(*args, **kwargs):
    sys.setrecursionlimit(2**30)
    return Node().next
