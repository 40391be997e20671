"""Pickles read as data: a small machine that knows the instructions arrays need, and no others.

A pickle is a program.  Python's own reader runs it: it imports what the file names, calls it, and
so does whatever the writer of the file likes.  The machine here has the same stack and the same
memory of earlier objects, but

* a name in the file ("numpy.dtype") is only looked up in a table that the caller gives; what is
  found there is a stand-in of ours, which builds plain data;
* instructions that reach code by another way (EXT1, INST, OBJ, NEWOBJ, ...) do not exist;
* BUILD, which sets the state of an object, knows three kinds of objects: arrays, their dtypes and
  ordered dictionaries;
* what the file claims is believed only once it was read, so a file of n bytes takes memory and
  time in proportion to n.

The instructions are described in ``pickletools`` of the standard library; these are the ones of the
protocols 2 to 5, without sets.
"""

from minires.unpickle.machine import restricted_load
from minires.unpickle.stand_ins import NUMPY, PLAIN, brief

__all__ = ["NUMPY", "PLAIN", "brief", "restricted_load"]
