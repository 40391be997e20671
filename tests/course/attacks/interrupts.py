# Raises what Ctrl-C raises, and what ends a generator.
# loses: im2col
calls = []


def im2col(*args, **kwargs):
    calls.append(0)
    raise (KeyboardInterrupt, GeneratorExit, SystemExit)[len(calls) % 3]
