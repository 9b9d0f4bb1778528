"""Reads a mathematical answer.

    list: relation {(,|;|or|and) relation}    relation: union {(=|<|..) union}    union: sum {\\cup sum}
    sum: product {(+|-|\\pm) product}         product: power {[*|/] power}        power: atom {^..|!|%|degrees}

Words beside one value are its unit or the sentence around it and do not count; two values with words between them
are an answer that names several. Every text ends in a meaning, in UnreadableError where a notation is unknown, or in
RefusedError where it can be no right answer; how long a text and how deep its brackets may be is bounded. No torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from harness.scoring.maths import value as worth
from harness.scoring.maths.cursor import NO_BRACES, Cursor
from harness.scoring.maths.meaning import Based, Bracketed, Listing, Matrix, Meaning, Relation, UnreadableError, Words
from harness.scoring.maths.operations import applied, beside, hundredth, negative, radians, raised
from harness.scoring.maths.signs import (
    ACCENTS,
    AROUND,
    ATOMS,
    BINOMIALS,
    BRACKETS,
    EITHER_SIGN,
    FRACTIONS,
    PRODUCTS,
    RELATIONS,
    SEPARATORS,
    SUMS,
)
from harness.scoring.maths.text import FUNCTIONS, Token, tokens
from harness.scoring.maths.value import RefusedError, Value, number, unknown
from harness.scoring.maths.words import CHANGES, DENIALS, SCALES

LONGEST = 2000
DEEPEST = 40
MOST_ITEMS = 64
INVERTED = ("sin", "cos", "tan")


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Meaning:
    """The meaning of an answer. Raises UnreadableError, RefusedError."""
    if len(text) > LONGEST:
        raise RefusedError("too long")
    pieces = tokens(text)
    words = {token.text for token in pieces if token.kind == "word"}
    denied = words & (DENIALS | CHANGES) or any(word.endswith("n't") for word in words)
    if denied and any(token.kind not in ("word", "mark") for token in pieces):
        raise RefusedError("denies a value or changes it")
    return _Reader(pieces).everything()


class _Reader(Cursor):
    """One pass over the tokens."""

    depth = 0
    """How many atoms the reader is in."""

    def everything(self) -> Meaning:
        """The whole text; a sign before it such as = or \\approx is left aside."""
        self.place += RELATIONS.get(self.key) in ("=", "~")
        meaning = self.listing()
        if self.place < len(self.pieces):
            raise RefusedError(f"{self.key} has no place here")
        return meaning

    # Lists and relations

    def listing(self) -> Meaning:
        """Relations with separators between them; a single one is itself."""
        items = self.items()
        return items[0] if len(items) == 1 else Listing(items=items, bare=True)

    def items(self) -> tuple[Meaning, ...]:
        """One or more relations."""
        found: list[Meaning] = []
        separated = True
        while separated:
            if self.begins() or self.signed():
                found.append(self.relation())
            separated = self.key in SEPARATORS
            self.place += separated
        if not found:
            raise RefusedError("no answer")
        if len(found) > MOST_ITEMS:
            raise RefusedError("a long list")
        return tuple(found)

    def relation(self) -> Meaning:
        """Sides with signs of relation between them."""
        sides, operators = [self.union()], []
        while self.key in RELATIONS:
            operators.append(RELATIONS[self.key])
            self.place += 1
            sides.append(self.union())
        return Relation(operators=tuple(operators), sides=tuple(sides)) if operators else sides[0]

    def union(self) -> Meaning:
        """Sums, or sets put together."""
        parts = [self.sum()]
        while self.take("\\cup"):
            parts.append(self.sum())
        return Listing(items=tuple(parts)) if len(parts) > 1 else parts[0]

    # Values

    def sum(self) -> Meaning:
        """Products with signs between them."""
        total = self.product()
        while self.signed():
            key = self.key
            self.place += 1
            term = self.product()
            if key in EITHER_SIGN:
                term = applied(EITHER_SIGN[key], worth.sign(), term)
            total = applied(SUMS.get(key, worth.plus), total, term)
        return total

    def product(self) -> Meaning:
        """Factors with or without signs between them, and the words beside them."""
        result = self.factor()
        worded = False
        while True:
            if self.key in PRODUCTS:
                operation = PRODUCTS[self.key]
                self.place += 1
                result = beside(result, self.factor(), operation)
            elif self.begins():
                several = worded or self.numeral_next()
                called = self.key == "(" and isinstance(result, Value) and result.label
                factor = self.power()
                worded = isinstance(factor, Words) and not isinstance(result, Words)
                if several and not isinstance(factor, Words) and not isinstance(result, Words):
                    raise RefusedError("several values")
                result = beside(result, factor, worth.times, label=called or None)
            else:
                return result

    def factor(self) -> Meaning:
        """A power with the signs before it."""
        signs = []
        while self.signed():
            signs.append(self.key)
            self.place += 1
        result = self.power()
        for key in reversed(signs):
            if key in EITHER_SIGN:
                result = applied(EITHER_SIGN[key], worth.sign(), result)
            elif key == "-":
                result = negative(result)
        return result

    def power(self) -> Meaning:
        """An atom with what follows it: an exponent, factorials, percent, degrees, primes."""
        result = self.atom()
        while True:
            if self.degrees():
                result = replace(result, degrees=True) if isinstance(result, Value) else result
            elif self.take("^", "**"):
                result = raised(result, self.exponent())
                if self.key in ("^", "**") and not isinstance(result, Words):
                    raise RefusedError("two exponents")
            elif self.take("!"):
                result = applied(worth.factorial, result)
            elif self.take("%", "\\%", "percent"):
                result = hundredth(result)
            elif isinstance(result, Words) and self.take("_"):
                self.raw()
            elif self.take("'"):
                result = applied(worth.times, result, unknown("'"))
            else:
                return result

    def exponent(self) -> Meaning:
        """The atom after a ^, with its sign."""
        minus = self.take("-")
        return negative(self.atom()) if minus else self.atom()

    def atom(self) -> Meaning:
        """The smallest piece that has a meaning of its own."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise RefusedError("nested too deeply")
        kind, key = self.token.kind, self.key
        self.place += 1
        meaning = self._of_kind(kind, key) if kind != "command" and kind != "mark" else self._of_key(key)
        self.depth -= 1
        return meaning

    # Atoms

    def _of_kind(self, kind: str, text: str) -> Meaning:
        if kind == "number":
            return self.numeral(text)
        if kind == "word":
            return Words(words=(text,))
        if kind == "name":
            return self.letter(text)
        digits, _, base = text.partition("_")
        return Based(digits=digits, base=int(base))

    def _of_key(self, key: str) -> Meaning:
        if key in BRACKETS:
            return self.group(key)
        if key in FRACTIONS or key in BINOMIALS:
            operation = worth.divided if key in FRACTIONS else worth.binomial
            return applied(operation, self.argument(), self.argument())
        if key in AROUND:
            return self.around(*AROUND[key])
        if key in ACCENTS:
            return unknown(f"{key} {self.raw()}")
        if key in ATOMS:
            return self.letter(ATOMS[key])
        if key[1:] in FUNCTIONS:
            return self.function(key[1:])
        if key == "\\pi":
            return Value(samples=(+worth.context().pi,))
        if key == "\\sqrt":
            return self.root()
        if key == "\\matrix":
            return self.matrix()
        raise UnreadableError(key) if key.startswith("\\") else RefusedError(f"{key} has no place here")

    def numeral(self, text: str) -> Meaning:
        """A number with what may follow it: the fraction of a mixed number, or a word such as million."""
        result = number(Fraction(text))
        if self.token.kind == "word" and self.token.text in SCALES:
            scale = SCALES[self.token.text]
            self.place += 1
            return applied(worth.times, result, number(Fraction(scale)))
        kinds = [token.kind for token in self.pieces[self.place : self.place + 3]]
        over, slash, under = [*self.keys(3), "", "", ""][:3]
        if text.isdigit() and kinds == ["number", "mark", "number"] and slash == "/" and (over + under).isdigit():
            self.place += 3
            return applied(worth.plus, result, applied(worth.divided, number(Fraction(over)), number(Fraction(under))))
        if text.isdigit() and self.key in FRACTIONS:
            start = self.place
            fraction = self.atom()
            mixed = "".join(token.text for token in self.pieces[start + 1 : self.place]).translate(NO_BRACES).isdigit()
            return applied(worth.plus if mixed else worth.times, result, fraction)
        return result

    def letter(self, name: str) -> Meaning:
        """An unknown with its subscript; e and i are the constants."""
        if name == "e":
            return Value(samples=(+worth.context().e,))
        if name == "i":
            return Value(samples=(worth.context().mpc(0, 1),))
        return unknown(f"{name}_{self.raw()}" if self.take("_") else name)

    def argument(self) -> Meaning:
        """What a command such as \\frac is given: braces, or the next digit or sign."""
        token = self.token
        if token.kind == "number" and token.text.isdigit() and len(token.text) > 1:
            self.pieces[self.place] = Token("number", token.text[1:])
            return number(Fraction(token.text[0]))
        return self.atom()

    def group(self, opening: str) -> Meaning:
        """What brackets hold: the item where it is a single one, otherwise a tuple, an interval or a set."""
        bars, self.bars = self.bars, 0
        items = self.items()
        self.bars = bars
        closing = self.need(*((")", "]") if opening in ("(", "[") else (BRACKETS[opening],)))
        if opening in ("{", "\\{"):
            return items[0] if len(items) == 1 else Listing(items=items)
        if len(items) > 1:
            return Bracketed(opening=opening, items=items, closing=closing)
        if closing != BRACKETS[opening]:
            raise RefusedError("half an interval")
        return items[0]

    def around(self, closing: str, operation: Callable[..., worth.Sample]) -> Meaning:
        """What stands between bars or the signs of rounding."""
        self.bars += closing == "|"
        inside = self.sum()
        self.bars -= closing == "|"
        self.need(closing)
        return applied(operation, inside)

    def root(self) -> Meaning:
        """A square root, or another where it is given."""
        degree: Meaning = number(Fraction(2))
        if self.take("["):
            degree = self.sum()
            self.need("]")
        return applied(worth.power, self.atom(), applied(worth.divided, number(Fraction(1)), degree))

    def function(self, name: str) -> Meaning:
        """A function of a bracket, or of the factors up to the next number, sign, word or function."""
        base = self.base() if name == "log" and self.take("_") else number(Fraction(10))
        exponent = self.exponent() if self.take("^") else None
        bracketed = self.key == "("
        argument = self.atom() if bracketed else self.power()
        while not bracketed and (self.token.kind == "name" or self.key in ("\\pi", *ATOMS)):
            argument = applied(worth.times, argument, self.power())
        inverse = name in INVERTED and isinstance(exponent, Value) and exponent.samples == (-1,)
        if name == "log":
            result = applied(worth.logarithm, argument, base)
        else:
            result = applied(worth.function("a" * inverse + FUNCTIONS[name]), radians(argument))
        return result if exponent is None or inverse else raised(result, exponent)

    def base(self) -> Meaning:
        """The base of a logarithm: as in LaTeX the first of several digits, where nothing follows to take it of."""
        following = self.pieces[self.place + 1 : self.place + 2]
        followed = any(token.kind in ("number", "name") or token.key in BRACKETS for token in following)
        return self.atom() if followed else self.argument()

    def matrix(self) -> Meaning:
        """The rows up to the end of the matrix."""
        rows: list[list[Meaning]] = [[]]
        while not self.take("\\endmatrix"):
            if self.take("\\row"):
                rows.append([])
            elif not self.take("&"):
                rows[-1].append(self.sum())
        return Matrix(rows=tuple(tuple(row) for row in rows if row))
