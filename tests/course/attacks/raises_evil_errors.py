# Raises errors that do harm when they are shown.
# loses: pad
import sys


class Meta(type):
    @property
    def __name__(cls):
        raise KeyboardInterrupt


class Text(str):
    def __getitem__(self, key):
        sys.exit(0)

    def __str__(self):
        return self

    def encode(self, *args):
        sys.exit(0)


class Evil(Exception, metaclass=Meta):
    def __str__(self):
        return Text("x" * 10_000_000)

    def __repr__(self):
        raise SystemExit

    @property
    def __traceback__(self):
        raise SystemExit

    def __getattribute__(self, name):
        raise SystemExit


def pad(x, padding):
    raise Evil


raise Evil
