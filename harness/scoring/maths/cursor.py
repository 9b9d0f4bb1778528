"""A place in the tokens of an answer."""

from __future__ import annotations

from collections.abc import Iterable

from harness.scoring.maths.signs import BRACKETS, EITHER_SIGN, SEPARATORS, STOPS, SUMS
from harness.scoring.maths.text import Token
from harness.scoring.maths.value import RefusedError

END = Token("mark", "")
NO_BRACES = str.maketrans("", "", "{} ")
DEGREES = (["\\degree"], ["^", "\\circ"], ["^", "{", "\\circ", "}"])


class Cursor:
    """What stands at the place, and going past it."""

    def __init__(self, pieces: Iterable[Token]) -> None:
        self.pieces = list(pieces)
        self.place = 0
        self.bars = 0
        """How many | stand open around the place."""

    @property
    def token(self) -> Token:
        return self.pieces[self.place] if self.place < len(self.pieces) else END

    @property
    def key(self) -> str:
        """The token as the vocabulary has it."""
        return self.token.key

    def keys(self, count: int) -> list[str]:
        """The next tokens, up to `count`, as the vocabulary has them."""
        return [token.key for token in self.pieces[self.place : self.place + count]]

    def take(self, *keys: str) -> bool:
        """Goes past the token where it is one of these."""
        found = self.key in keys
        self.place += found
        return found

    def need(self, *keys: str) -> str:
        """Goes past one of these tokens and returns it."""
        key = self.key
        if not self.take(*keys):
            raise RefusedError(f"{keys[0]} is missing")
        return key

    def begins(self) -> bool:
        """Whether a factor begins here."""
        if self.token.kind in ("number", "based", "name", "word"):
            return self.key not in SEPARATORS
        if self.key == "|":
            return not self.bars
        return self.key in BRACKETS or (self.token.kind == "command" and self.key not in STOPS)

    def numeral_next(self) -> bool:
        """Whether a numeral begins here, or braces with one; after a factorial it is a factor like others."""
        start = self.place + (self.key == "{")
        return self.pieces[self.place - 1].key != "!" and any(
            token.kind in ("number", "based") for token in self.pieces[start : start + 1]
        )

    def degrees(self) -> bool:
        """Goes past a sign of degrees."""
        for signs in DEGREES:
            if self.keys(len(signs)) == signs:
                self.place += len(signs)
                return True
        return False

    def raw(self) -> str:
        """The text of a subscript or of what stands below an accent."""
        start, depth = self.place, 0
        while self.place < len(self.pieces):
            depth += (self.key == "{") - (self.key == "}")
            self.place += 1
            if depth <= 0:
                break
        return "".join(token.text for token in self.pieces[start : self.place]).translate(NO_BRACES)

    def signed(self) -> bool:
        """Whether a sign stands here."""
        return self.key in SUMS or self.key in EITHER_SIGN
