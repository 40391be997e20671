"""The machine: a stack, a memory of earlier objects, and one method an instruction."""

from __future__ import annotations

import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

from minires.errors import DataError
from minires.unpickle.stand_ins import STATES, checked_keys

__all__ = ["restricted_load"]

Allowed = Mapping[tuple[str, str], Any]

_HIGHEST_PROTOCOL = 5
_PIECE = 1 << 20  # bytes read at a time: a false length must not be set aside in advance
_LONGEST_LINE = 1000
_CALL_BYTES_PER_BYTE, _CALL_BYTES = 8, 1 << 16
_ENTRY = 16
_SPECIFIC = re.compile(r"[\x21-\x7e]{1,80}")


def restricted_load(
    stream: BinaryIO,
    allowed: Allowed,
    *,
    what: str,
    encoding: str = "ASCII",
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle from ``stream``, which is left just behind it.

    Args:
        stream: a file opened for reading bytes.
        allowed: what the pickle may ask for, (module, name) to the object that stands in for it: a
            function that takes the arguments in the file and checks them.
        what: the file as messages name it.
        encoding: of the texts that Python 2 wrote; "bytes" leaves them as bytes, as in
            :func:`pickle.load`.
        persistent_load: takes the persistent id of an object kept elsewhere and returns that
            object; without it a pickle that has some is refused.

    Raises:
        DataError: the pickle asks for anything else, is cut short, or is none.

    >>> import io, pickle
    >>> restricted_load(io.BytesIO(pickle.dumps({"lr": [0.1, 0.01]})), {}, what="a.pkl")
    {'lr': [0.1, 0.01]}
    >>> restricted_load(io.BytesIO(pickle.dumps(print)), {}, what="a.pkl")
    Traceback (most recent call last):
        ...
    minires.errors.DataError: a.pkl asks for builtins.print; only arrays and plain data are read, \
nothing was run.
    """
    machine = _Machine(stream, allowed, what, encoding, persistent_load)
    try:
        return machine.run()
    except DataError:
        raise
    # A damaged pickle can give a stand-in or an instruction anything at all.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        machine.refuse(f"is damaged or no pickle ({reason}, near byte {machine.count})")


class _Machine:
    """The stack, the memory, and one method an instruction."""

    def __init__(
        self,
        stream: BinaryIO,
        allowed: Allowed,
        what: str,
        encoding: str,
        persistent_load: Callable[[Any], Any] | None,
    ):
        self.stream, self.allowed, self.what, self.encoding = stream, allowed, what, encoding
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.count = 0  # bytes read
        self.handed = 0  # bytes and items handed to stand-ins

    def run(self) -> Any:
        """Follow the instructions up to STOP; the result is on the stack."""
        while (code := self.read(1)) != b".":
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                self.refuse(f"has {_named(code)} at byte {self.count - 1}, which no data need")
            instruction(self)
        if self.below or len(self.stack) != 1:
            raise ValueError("objects are left over")
        return self.stack.pop()

    def refuse(self, reason: str) -> NoReturn:
        """Raise DataError with the name of the file."""
        raise DataError(
            f"{self.what} {reason}; only arrays and plain data are read, nothing was run."
        )

    # --- reading ---

    def read(self, size: int) -> bytes:
        """Just ``size`` bytes, however many are promised."""
        pieces = []
        while size > 0:
            piece = self.stream.read(min(size, _PIECE))
            if not piece:
                raise ValueError("it is cut short")
            pieces.append(piece)
            size -= len(piece)
            self.count += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def line(self) -> str:
        """Up to the next line feed, without it."""
        line = self.stream.readline(_LONGEST_LINE)
        self.count += len(line)
        if not line.endswith(b"\n"):
            raise ValueError("a line without end")
        return line[:-1].decode("utf-8")

    def number(self, form: str) -> Any:
        """One number of the ``struct`` format ``form``, little-endian."""
        return struct.unpack("<" + form, self.read(struct.calcsize("<" + form)))[0]

    def counted(self, form: str) -> bytes:
        """A length, and as many bytes."""
        size = self.number(form)
        if size < 0:
            raise ValueError(f"a length of {size}")
        return self.read(size)

    # --- instructions ---

    def take_mark(self) -> list[Any]:
        """All that was put on the stack since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        self.stack.pop() if self.stack else self.take_mark()

    def protocol(self) -> None:
        version = self.number("B")
        if version > _HIGHEST_PROTOCOL:
            raise ValueError(f"protocol {version} is unknown")

    def text_of_python_2(self, form: str) -> None:
        raw = self.counted(form)
        try:
            self.stack.append(raw if self.encoding == "bytes" else raw.decode(self.encoding))
        except UnicodeDecodeError:
            raise ValueError(f"a text of Python 2 that is not {self.encoding}") from None

    def decimal(self) -> None:  # Python 2 wrote True as I01
        text = self.line()
        self.stack.append({"00": False, "01": True}.get(text, int(text)))

    def tuple_of(self, size: int) -> None:
        if len(self.stack) < size:
            raise ValueError("the stack is too short")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError(f"items for a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict) or len(items) % 2:
            raise ValueError(f"keys and values for a {type(target).__name__}")
        target.update(checked_keys(zip(items[::2], items[1::2], strict=True)))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"nothing was remembered under {index}")
        self.stack.append(self.memo[index])

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        if (module, name) not in self.allowed:
            asked = f"{module}.{name}"
            self.refuse(f"asks for {asked if _SPECIFIC.fullmatch(asked) else ascii(asked)[:80]}")
        self.stack.append(self.allowed[module, name])

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple or not any(function is f for f in self.allowed.values()):
            raise ValueError("a call of what is no function")
        self.hand_over(arguments)
        self.stack.append(function(*arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is OrderedDict:  # its attributes say nothing about its items
            return
        if type(target) not in STATES or type(state) is not tuple:
            raise ValueError(f"a state for a {type(target).__name__}")
        self.hand_over(state)
        STATES[type(target)](target, *state)

    def hand_over(self, arguments: tuple[Any, ...]) -> None:
        """Count what stand-ins are given: a remembered object, used often, could fill memory."""
        for argument in arguments:
            size = len(argument) if hasattr(argument, "__len__") else 1
            # An entry of a list or a dict is a place of some 100 bytes, not a byte.
            self.handed += size if isinstance(argument, str | bytes) else _ENTRY * (size + 1)
        if self.handed > _CALL_BYTES_PER_BYTE * self.count + _CALL_BYTES:
            raise ValueError("it uses the same bytes again and again")

    def persistent(self) -> None:
        if self.persistent_load is None:
            raise ValueError("it has objects that are kept elsewhere")
        self.stack.append(self.persistent_load(self.stack.pop()))


def _named(code: bytes) -> str:
    import pickletools  # of use here only

    names = {op.code: op.name for op in pickletools.opcodes}
    name = names.get(code.decode("latin1"))
    return "an unknown instruction" if name is None else f"the instruction {name}"


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")  # as pickle writes texts


def _signed(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def instruction(machine: _Machine) -> None:
        made = value(machine)  # first: take_mark changes which stack is the machine's
        machine.stack.append(made)

    return instruction


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.protocol,  # PROTO
    b"\x95": lambda m: m.number("Q"),  # FRAME: a hint: how much to read ahead
    b"(": _Machine.mark,  # MARK
    b"0": _Machine.pop,  # POP
    b"1": lambda m: m.take_mark().clear(),  # POP_MARK
    b"2": _push(lambda m: m.stack[-1]),  # DUP
    b"N": _push(lambda m: None),  # NONE
    b"\x88": _push(lambda m: True),  # NEWTRUE
    b"\x89": _push(lambda m: False),  # NEWFALSE
    b"J": _push(lambda m: m.number("i")),  # BININT
    b"K": _push(lambda m: m.number("B")),  # BININT1
    b"M": _push(lambda m: m.number("H")),  # BININT2
    b"I": _Machine.decimal,  # INT
    b"\x8a": _push(lambda m: _signed(m.counted("B"))),  # LONG1
    b"\x8b": _push(lambda m: _signed(m.counted("i"))),  # LONG4
    b"G": _push(lambda m: struct.unpack(">d", m.read(8))[0]),  # BINFLOAT
    b"X": _push(lambda m: _text(m.counted("I"))),  # BINUNICODE
    b"\x8c": _push(lambda m: _text(m.counted("B"))),  # SHORT_BINUNICODE
    b"\x8d": _push(lambda m: _text(m.counted("Q"))),  # BINUNICODE8
    b"T": lambda m: m.text_of_python_2("i"),  # BINSTRING
    b"U": lambda m: m.text_of_python_2("B"),  # SHORT_BINSTRING
    b"B": _push(lambda m: m.counted("I")),  # BINBYTES
    b"C": _push(lambda m: m.counted("B")),  # SHORT_BINBYTES
    b"\x8e": _push(lambda m: m.counted("Q")),  # BINBYTES8
    b"\x96": _push(lambda m: bytearray(m.counted("Q"))),  # BYTEARRAY8
    b")": _push(lambda m: ()),  # EMPTY_TUPLE
    b"]": _push(lambda m: []),  # EMPTY_LIST
    b"}": _push(lambda m: {}),  # EMPTY_DICT
    b"t": _push(lambda m: tuple(m.take_mark())),  # TUPLE
    b"\x85": lambda m: m.tuple_of(1),  # TUPLE1
    b"\x86": lambda m: m.tuple_of(2),  # TUPLE2
    b"\x87": lambda m: m.tuple_of(3),  # TUPLE3
    b"a": lambda m: m.append([m.stack.pop()]),  # APPEND
    b"e": lambda m: m.append(m.take_mark()),  # APPENDS
    b"s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),  # SETITEM
    b"u": lambda m: m.set_items(m.take_mark()),  # SETITEMS
    b"q": lambda m: m.put(m.number("B")),  # BINPUT
    b"r": lambda m: m.put(m.number("I")),  # LONG_BINPUT
    b"\x94": lambda m: m.put(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.get(m.number("B")),  # BINGET
    b"j": lambda m: m.get(m.number("I")),  # LONG_BINGET
    b"c": lambda m: m.find(m.line(), m.line()),  # GLOBAL
    b"\x93": lambda m: m.find(m.stack.pop(-2), m.stack.pop()),  # STACK_GLOBAL
    b"R": _Machine.call,  # REDUCE
    b"b": _Machine.build,  # BUILD
    b"Q": _Machine.persistent,  # BINPERSID
}
