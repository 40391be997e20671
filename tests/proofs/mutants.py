"""Mutants of a source file: the same text but for one token.

A syntax tree says what each token is; the text is edited at the token and nowhere else.  Left alone
is what computes nothing: strings, annotations, decorators, imports, ``__all__`` and ``__slots__``,
what only a type checker reads, the making of an error (a ``raise``), and assertions, of which
zip's ``strict=`` is one.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import io
import random
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Mutant", "mutants_of", "sample"]

BINARY: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("/",)),
    ast.Div: ("/", ("*",)),
    ast.FloorDiv: ("//", ("*",)),
    ast.Mod: ("%", ("//",)),
    ast.Pow: ("**", ("*",)),
    ast.MatMult: ("@", ("*",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&",)),
}
COMPARE: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
AUGMENTED = {"+=": ("-=", "="), "-=": ("+=", "="), "*=": ("/=", "="), "/=": ("*=", "=")}
# Functions that are mistaken for each other: the built-in ones by name, those of arrays as methods.
SWAPS = (("min", "max"), ("any", "all"))
ARRAY_SWAPS = (
    *SWAPS,
    ("minimum", "maximum"),
    ("argmin", "argmax"),
    ("amin", "amax"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("sum", "mean"),
)
NAMES = {a: b for pair in SWAPS for a, b in (pair, pair[::-1])}
METHODS = {a: b for pair in ARRAY_SWAPS for a, b in (pair, pair[::-1])}
METHODS |= {"prod": "sum", "add": "subtract"}
SILENT = {"__all__", "__slots__"}
SILENT_NODES = (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr)


@dataclass(frozen=True)
class Mutant:
    """One token of one file replaced: bytes ``start`` to ``end`` of its text by ``new``."""

    file: str
    function: str  # its dotted name; empty at the module's own level
    line: str  # the text of the line, without its indentation
    number: int  # of the line, from 1 on
    start: int
    end: int
    old: str
    new: str
    nth: int  # among equal changes of equal lines of the function, from 1 on

    @property
    def change(self) -> str:
        return f"{self.old} -> {self.new or 'nothing'}"

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What names the mutant and outlives edits elsewhere in the file."""
        return self.file, self.function, self.line, self.change, self.nth

    @property
    def id(self) -> str:
        """The file, and eight digits that stand for the rest of the key."""
        return f"{self.file}:{hashlib.sha256(repr(self.key).encode()).hexdigest()[:8]}"

    def apply(self, source: str) -> str:
        """The source with the one token replaced."""
        text = source.encode()
        assert text[self.start : self.end].decode() == self.old, "the source has changed since"
        return (text[: self.start] + self.new.encode() + text[self.end :]).decode()

    def diff(self, source: str) -> str:
        before, after = source.splitlines(), self.apply(source).splitlines()
        lines = difflib.unified_diff(before, after, self.file, self.file, lineterm="", n=2)
        return "\n".join(lines)


def mutants_of(source: str, file: str) -> list[Mutant]:
    """Every mutant of a source text, in the order of the text."""
    found = sorted(set(_Finder(source).changes()))
    lines = source.splitlines()
    seen: Counter[tuple[str, str, str, str]] = Counter()
    mutants = []
    for start, end, new, number, function in found:
        old = source.encode()[start:end].decode()
        line = lines[number - 1].strip()
        same = (function, line, old, new)
        seen[same] += 1
        mutants.append(Mutant(file, function, line, number, start, end, old, new, seen[same]))
    return mutants


def sample(
    mutants: Mapping[str, list[Mutant]], count: int, seed: int, least: int = 3
) -> list[Mutant]:
    """``count`` mutants from all files in proportion to what each has, at least ``least`` of each.

    What is drawn from a file depends on the seed, the file and its share alone.
    """
    total = sum(map(len, mutants.values()))
    if count >= total:
        return [mutant for of_file in mutants.values() for mutant in of_file]
    exact = {file: count * len(of_file) / total for file, of_file in mutants.items()}
    shares = {
        file: min(len(of_file), max(least, int(exact[file]))) for file, of_file in mutants.items()
    }
    # What rounding left over goes, or is taken, one by one, where the share is furthest off.
    while (missing := count - sum(shares.values())) != 0:
        step = 1 if missing > 0 else -1
        low = {file: min(len(of_file), least) for file, of_file in mutants.items()}
        open_ = [f for f in mutants if low[f] <= shares[f] + step <= len(mutants[f])]
        if not open_:
            break
        file = max(open_, key=lambda f: step * (exact[f] - shares[f]))
        shares[file] += step
    drawn = []
    for file, of_file in mutants.items():
        chosen = random.Random(f"{seed} {file}").sample(range(len(of_file)), shares[file])
        drawn += [of_file[i] for i in sorted(chosen)]
    return drawn


Change = tuple[int, int, str, int, str]  # start, end, new text, line number, function


class _Finder:
    """Walks the tree of one source text and finds the token that each operator stands in."""

    def __init__(self, source: str):
        self.tree = ast.parse(source)
        lines = source.splitlines(keepends=True)
        self.starts = [0]  # of each line, in bytes
        for line in lines:
            self.starts.append(self.starts[-1] + len(line.encode()))
        self.tokens: list[tuple[int, int, str, int]] = []  # start, end, text, line
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER):
                (row, first), (_, last) = token.start, token.end
                start = self.starts[row - 1] + len(lines[row - 1][:first].encode())
                length = len(lines[row - 1][first:last].encode())
                self.tokens.append((start, start + length, token.string, row))
        self.function: list[str] = []

    def changes(self) -> Iterator[Change]:
        yield from self.walk(self.tree)

    def walk(self, node: ast.AST) -> Iterator[Change]:
        if isinstance(node, SILENT_NODES):
            return
        if isinstance(node, ast.keyword) and node.arg == "strict":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self.function.append(node.name)
            for child in (*self.defaults(node), *node.body):
                yield from self.walk(child)
            self.function.pop()
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id in SILENT for t in targets):
                return
            if isinstance(node, ast.AnnAssign):
                if node.value is not None:
                    yield from self.walk(node.value)
                return
        yield from self.here(node)
        for child in ast.iter_child_nodes(node):
            yield from self.walk(child)

    def defaults(self, node: ast.AST) -> list[ast.expr]:
        """What a definition computes before its body: the defaults of its arguments."""
        if isinstance(node, ast.ClassDef):
            return []
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        return [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]

    def here(self, node: ast.AST) -> Iterator[Change]:
        """The changes of this node's own token."""
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            yield from self.between(node.left, node.right, *BINARY[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self.between(left, right, old, (new,))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, right, op in zip(sides, sides[1:], node.ops, strict=False):
                yield from self.between(left, right, *COMPARE[type(op)])
        elif isinstance(node, ast.AugAssign):
            for old, news in AUGMENTED.items():
                yield from self.between(node.target, node.value, old, news)
        elif isinstance(node, ast.UnaryOp):
            yield from self.unary(node)
        elif isinstance(node, ast.Constant):
            yield from self.at(node, *_other_constants(node.value))
        elif isinstance(node, ast.Name) and node.id in NAMES:
            if isinstance(node.ctx, ast.Load):
                yield from self.at(node, NAMES[node.id])
        elif isinstance(node, ast.Attribute) and node.attr in METHODS:
            yield self.change(self.end(node) - len(node.attr), self.end(node), METHODS[node.attr])
        elif isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper):
                if isinstance(bound, ast.Name):
                    yield from self.at(bound, "")
        elif isinstance(node, ast.Break | ast.Continue):
            yield from self.at(node, "continue" if isinstance(node, ast.Break) else "break")
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Name):
            yield from self.at(node.value, "None")

    def unary(self, node: ast.UnaryOp) -> Iterator[Change]:
        start = self.start(node)
        if isinstance(node.op, ast.USub):
            yield self.change(start, start + 1, "")
        elif isinstance(node.op, ast.Not):
            yield self.change(start, start + 3, "")
        elif isinstance(node.op, ast.Invert):
            yield self.change(start, start + 1, "")

    def between(
        self, left: ast.expr, right: ast.expr, old: str, news: tuple[str, ...]
    ) -> Iterator[Change]:
        """The operator that stands between two operands; ``is not`` and ``not in`` are one."""
        words = old.split()
        inside = [t for t in self.tokens if self.end(left) <= t[0] < self.start(right)]
        for i in range(len(inside) - len(words) + 1):
            if [t[2] for t in inside[i : i + len(words)]] == words:
                for new in news:
                    yield self.change(inside[i][0], inside[i + len(words) - 1][1], new)
                return

    def at(self, node: ast.expr | ast.stmt, *news: str) -> Iterator[Change]:
        for new in news:
            yield self.change(self.start(node), self.end(node), new)

    def change(self, start: int, end: int, new: str) -> Change:
        row = next(i for i, first in enumerate(self.starts) if first > start)
        return start, end, new, row, ".".join(self.function)

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset


def _other_constants(value: object) -> tuple[str, ...]:
    """What a constant is changed to: a number to the next, 0 and 1 to each other too."""
    if isinstance(value, bool):
        return (str(not value),)
    if isinstance(value, int):
        return (str(value + 1), "0") if value == 1 else (str(value + 1),)
    if isinstance(value, float):
        return (repr(value + 1.0),)
    return ()
