"""Whether two mathematical answers are the same by meaning: the rule of the robust graders.

Both are read (reader.py) and compared by structure: tuples and intervals in order and with their brackets, lists and
sets in any order, matrices by cells, numerals with their base, values exactly (value.py). An answer that names another
value beside the right one, or denies one, is wrong. Where a notation is unknown, integrals for example, math-verify
decides. No torch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from fractions import Fraction

from harness.scoring.maths import value as worth
from harness.scoring.maths.meaning import Based, Bracketed, Listing, Matrix, Meaning, Relation, UnreadableError, Words
from harness.scoring.maths.reader import LONGEST, read
from harness.scoring.maths.signs import COMPUTED, INEQUALITIES, KNOWN, READ
from harness.scoring.maths.text import tokens
from harness.scoring.maths.value import RefusedError, Value, combined, near, number, proportional, same, unknown
from harness.scoring.maths.verifier import same_value
from harness.scoring.maths.words import ARTICLES, NUMERALS, OPEN_ENDS

ROUND = {"(": "(", ")": ")", "\\langle": "(", "\\rangle": ")"}
LESS, MORE = ("<", "<="), (">", ">=")
TURNED = {">": "<", ">=": "<="}
TEN = 10
ZERO = number(Fraction(0))
COMPUTING = threading.Lock()
"""mpmath changes the precision of its numbers while it computes: one thread at a time."""


def equal(gold: str, answer: str) -> bool:
    """Whether `answer`, LaTeX or plain text, is the same as `gold`."""
    if max(len(gold), len(answer)) > LONGEST:
        return gold == answer
    if tokens(gold) and tokens(gold) == tokens(answer):
        return True
    try:
        with COMPUTING:
            wanted, given = read(gold), read(answer)
            if isinstance(wanted, Words) or isinstance(given, Words):
                return spelt(gold) == spelt(answer)
            return matches(wanted, given)
    except RefusedError:
        return False
    except UnreadableError:
        return left_to_math_verify(gold, answer) and same_value(f"${gold}$", f"${answer}$")


def left_to_math_verify(gold: str, answer: str) -> bool:
    """Whether the answer is of a kind that math-verify judges.

    It has neither words nor inequalities. It computes with integrals, sums, limits or matrices, or the stored answer is
    not read here and it has no unknown commands but those of the stored one.
    """
    plain = all(token.kind != "word" and token.key not in INEQUALITIES for token in tokens(answer))
    wanted, given = ({token.key for token in tokens(text) if token.kind == "command"} for text in (gold, answer))
    return plain and given <= KNOWN | wanted and bool((wanted - READ) | (given & COMPUTED))


def spelt(text: str) -> str:
    """Letters and digits of the text in lower case, without articles beside other words."""
    words = [token.text.casefold() for token in tokens(text) if token.kind != "mark"]
    return "".join(word for word in words if word not in ARTICLES) or "".join(words)


def matches(wanted: Meaning, given: Meaning) -> bool:
    """Whether the two are the same. Raises RefusedError where one of them is no answer."""
    equations = difference(wanted), difference(given)
    if equations[0] is not None and equations[1] is not None:
        return proportional(equations[0], equations[1])
    wanted, given = solution(wanted), solution(given)
    if isinstance(wanted, Bracketed) and isinstance(given, Listing) and given.bare and is_round(wanted):
        return in_order(wanted.items, given.items)
    if isinstance(wanted, Listing) and isinstance(given, Bracketed) and wanted.bare and is_round(given):
        given = Listing(items=given.items)
    expected = spread(wanted)
    found = spread(given) if any(isinstance(item, Words) for item in expected) else without_words(spread(given))
    if len(expected) > 1 and any(isinstance(item, Value) and "ldots" in item.names for item in expected):
        return in_order(expected, found)
    first, second = distinct(expected), distinct(found)
    return len(first) == len(second) and all(any(alike(one, other) for other in second) for one in first)


def difference(meaning: Meaning) -> Value | None:
    """Left side less right side of an equation of two values that holds an unknown; None for anything else."""
    if not isinstance(meaning, Relation) or meaning.operators != ("=",):
        return None
    left, right = meaning.sides
    if not isinstance(left, Value) or not isinstance(right, Value) or not left.names | right.names:
        return None
    return combined(worth.minus, left, right)


def solution(meaning: Meaning) -> Meaning:
    """What a relation says its unknown is. Raises RefusedError where it says two things, or nothing."""
    if not isinstance(meaning, Relation):
        return meaning
    operators, sides = meaning.operators, meaning.sides
    if set(operators) <= {"=", "~"}:
        exact = operators.index("~") + 1 if "~" in operators else len(sides)
        said = common(sides[:exact])
        rounded = common(sides[exact:])
        if said is not None and rounded is not None and not is_rounding(said, rounded):
            raise RefusedError("an approximation that is none")
        return said or rounded or sides[-1]
    if operators == ("in",) and is_label(sides[0]):
        return sides[1]
    return interval(operators, sides)


def is_label(meaning: Meaning) -> bool:
    """Whether it only names a quantity: unknowns without a number, or words."""
    if isinstance(meaning, Bracketed):
        return all(map(is_label, meaning.items))
    return isinstance(meaning, Words) or (isinstance(meaning, Value) and meaning.label)


def is_rounding(exact: Meaning, rounded: Meaning) -> bool:
    """Whether the second is a value close to the first."""
    return isinstance(exact, Value) and isinstance(rounded, Value) and near(exact, rounded)


def common(sides: Iterable[Meaning]) -> Meaning | None:
    """The last side that is more than a label, None without one. Raises RefusedError where another differs."""
    said = [side for side in sides if not is_label(side)]
    if any(not matches(said[-1], side) for side in said[:-1]):
        raise RefusedError("an equation that does not hold")
    return said[-1] if said else None


def interval(operators: tuple[str, ...], sides: tuple[Meaning, ...]) -> Meaning:
    """The interval that an inequality of one unknown names. Raises RefusedError for other relations."""
    if set(operators) <= set(MORE):
        operators, sides = tuple(TURNED[one] for one in reversed(operators)), sides[::-1]
    infinity = unknown("infty")
    if len(sides) == 2 and is_unknown(sides[0]):
        sides, operators = (combined(worth.minus, ZERO, infinity), *sides), ("<", *operators)
    elif len(sides) == 2:
        sides, operators = (*sides, infinity), (*operators, "<")
    if len(sides) != 3 or not set(operators) <= set(LESS) or not is_unknown(sides[1]):
        raise RefusedError("a relation that names no value")
    opening, closing = "[" if operators[0] == "<=" else "(", "]" if operators[1] == "<=" else ")"
    return Bracketed(opening=opening, items=(sides[0], sides[2]), closing=closing)


def is_unknown(meaning: Meaning) -> bool:
    """Whether it is one unknown and nothing else."""
    return isinstance(meaning, Value) and len(meaning.names) == 1 and same(meaning, unknown(*meaning.names))


def is_round(bracketed: Bracketed) -> bool:
    """Whether both brackets are those of a tuple."""
    return bracketed.opening in ROUND and bracketed.closing in ROUND


def spread(meaning: Meaning) -> tuple[Meaning, ...]:
    """The items of a list, every choice of \\pm one of its own."""
    if isinstance(meaning, Listing):
        return tuple(part for item in meaning.items for part in spread(solution(item)))
    if isinstance(meaning, Value):
        return meaning.variants
    return (meaning,)


def without_words(items: tuple[Meaning, ...]) -> tuple[Meaning, ...]:
    """The items that are more than words beside the value. Raises RefusedError where words name a number."""
    said = [item.words for item in items if isinstance(item, Words)]
    if any(words[0] in OPEN_ENDS or not NUMERALS.isdisjoint(words) for words in said):
        raise RefusedError("another value in words")
    return tuple(item for item in items if not isinstance(item, Words))


def distinct(items: Iterable[Meaning]) -> list[Meaning]:
    """Every item once."""
    found: list[Meaning] = []
    for item in items:
        if not any(alike(item, other) for other in found):
            found.append(item)
    return found


def in_order(wanted: tuple[Meaning, ...], given: tuple[Meaning, ...]) -> bool:
    """Whether the items are the same one by one."""
    return len(wanted) == len(given) and all(map(matches, wanted, given))


def alike(wanted: Meaning, given: Meaning) -> bool:
    """Whether two single items are the same. The base of a numeral may be left out, since the question names it."""
    if isinstance(wanted, Value) and isinstance(given, Value):
        return same(wanted, given)
    if isinstance(wanted, Based) and isinstance(given, Value):
        return wanted.digits.isdigit() and same(number(Fraction(wanted.digits)), given)
    if isinstance(wanted, Value) and isinstance(given, Based):
        return given.base == TEN and alike(given, wanted)
    if isinstance(wanted, Bracketed) and isinstance(given, Bracketed):
        brackets = [[ROUND.get(one, one) for one in (item.opening, item.closing)] for item in (wanted, given)]
        return brackets[0] == brackets[1] and in_order(wanted.items, given.items)
    if isinstance(wanted, Matrix) and isinstance(given, Matrix):
        return len(wanted.rows) == len(given.rows) and all(map(in_order, wanted.rows, given.rows))
    if isinstance(wanted, Matrix) or isinstance(given, Matrix):
        vectors = [entries(item) for item in (wanted, given)]
        return None not in vectors and in_order(*(vector for vector in vectors if vector is not None))
    return isinstance(wanted, Words | Based) and wanted == given


def entries(meaning: Meaning) -> tuple[Meaning, ...] | None:
    """The entries of a vector, as a matrix of one row or column or as a tuple; None for anything else."""
    if isinstance(meaning, Bracketed) and is_round(meaning):
        return meaning.items
    if not isinstance(meaning, Matrix):
        return None
    rows = meaning.rows
    return rows[0] if len(rows) == 1 else tuple(row[0] for row in rows) if all(len(row) == 1 for row in rows) else None
