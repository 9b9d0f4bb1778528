"""Ways to write a mathematical answer: harmless ones, which leave it right, and harmful ones, which make it wrong.

Each is a function of the stored answer; None where it has nothing to change there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Rewriting = Callable[[str], str | None]

WHOLE = re.compile(r"-?[0-9]+")
PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
TUPLE = re.compile(r"(\\left)?\s*\(([^(),]+(?:,[^(),]+)+?)(\\right)?\)")
BASED = re.compile(r"([0-9]+)_\{?([0-9]+)\}?")
COMMAND = re.compile(r"(\\[A-Za-z]+) ?")
SUM = re.compile(r"(-?[0-9]*) ?([+-]) ?([0-9]*i)")
WORDS = re.compile(r"\\text\{\(?([A-Za-z]+)\)?\}")
FRACTION = re.compile(r"\\d?frac\{([0-9]+)\}\{([0-9]+)\}")
ROOT = re.compile(r"(.*)\\sqrt\{?([0-9]+)\}?")


def is_scalar(gold: str) -> bool:
    """Whether it is one value: no list, bracket, equation, word or numeral in a base."""
    return not re.search(r"[,=_]|\\(pm|in|cup|begin|text|mbox)|\\\{", gold)


def scalar(template: str) -> Rewriting:
    return lambda gold: template.replace("X", gold) if is_scalar(gold) else None


def anything(template: str) -> Rewriting:
    return lambda gold: template.replace("X", gold)


def number(template: str) -> Rewriting:
    return lambda gold: template.replace("X", gold) if WHOLE.fullmatch(gold) else None


def replaced(old: str, new: str) -> Rewriting:
    return lambda gold: gold.replace(old, new) if old in gold else None


def thousands(separator: str) -> Rewriting:
    return lambda gold: f"{int(gold):,}".replace(",", separator) if WHOLE.fullmatch(gold) and len(gold) > 3 else None


def without_spaces(gold: str) -> str | None:
    """No blank but those that end a command before a letter and those of words."""
    if "\\text" in gold or "\\mbox" in gold:
        return None
    return re.sub(r"(\\[A-Za-z]+) (?=[A-Za-z])|\s", lambda found: found[0] if found[1] else "", gold)


def with_thin_spaces(gold: str) -> str | None:
    return re.sub(r" ?([-+=]) ?", r"\\,\1\\;", gold[:1] + gold[1:]) if re.search(r".[-+=]", gold) else None


def in_unicode(gold: str) -> str | None:
    signs = {"\\pi": "π", "\\infty": "∞", "\\cup": "∪", "\\pm": "±", "^\\circ": "°", "\\in": "∈", "-": "−"}
    text = ROOT.sub(r"\1√\2", gold) if not re.search(r"\\sqrt\{?[0-9]*[^0-9}]", gold) else gold
    for command, sign in signs.items():
        text = re.sub(re.escape(command) + r"(?![A-Za-z])", sign, text)
    return text if text != gold else None


def quotient(gold: str) -> str | None:
    return FRACTION.sub(r"(\1)/(\2)", gold) if FRACTION.fullmatch(gold) else None


def swapped_sum(gold: str) -> str | None:
    found = SUM.fullmatch(gold)
    return f"{found[2] if found[2] == '-' else ''}{found[3]} + {found[1]}" if found and found[1] else None


def backwards(gold: str) -> str | None:
    """The items of a list without brackets, in the other order."""
    items = gold.split(",")
    bare = len(items) > 1 and not re.search(r"[()\[\]{}!$]|,[0-9]{3}", gold)
    return ", ".join(item.strip() for item in reversed(items)) if bare else None


def left_right(gold: str) -> str | None:
    return (
        re.sub(r"(?<!\\)([(\[])", r"\\left\1", re.sub(r"(?<!\\)([)\]])", r"\\right\1", gold))
        if "(" in gold and "\\left" not in gold and "text" not in gold
        else None
    )


HARMLESS: Mapping[str, Rewriting] = {
    "as it is": anything("X"),
    "trailing period": anything("X."),
    "period and blank": anything("X . "),
    "white space around": anything("\n  X \n"),
    "no blanks": without_spaces,
    "thin spaces": with_thin_spaces,
    "dollar signs": anything("$X$"),
    "dollar signs and period": anything("$X$."),
    "double dollar signs": anything("$$X$$"),
    "parentheses of LaTeX": anything("\\(X\\)"),
    "brackets of LaTeX": anything("\\[X\\]"),
    "bold": anything("**X**"),
    "code": anything("`X`"),
    "displaystyle": anything("\\displaystyle X"),
    "nested box": anything("\\boxed{X}"),
    "a sentence": anything("The answer is $X$."),
    "a short sentence": anything("Answer: X"),
    "left and right": left_right,
    "without left and right": lambda gold: re.sub(r"\\(left|right)", "", gold) if "\\left" in gold else None,
    "dfrac": replaced("\\frac", "\\dfrac"),
    "tfrac": replaced("\\frac", "\\tfrac"),
    "quotient": quotient,
    "Unicode": in_unicode,
    "pi spelt out": replaced("\\pi", " pi"),
    "times": lambda gold: (
        re.sub(r"([0-9]) ?(?=\\(sqrt|pi))", r"\1 \\cdot ", gold) if re.search(r"[0-9] ?\\(sqrt|pi)", gold) else None
    ),
    "text": number("\\text{X}"),
    "bold of LaTeX": number("\\mathbf{X}"),
    "unit": number("X apples"),
    "unit in text": number("X\\text{ square inches}"),
    "unit with a power": number("X \\text{ cm}^2"),
    "all in text": number("\\text{X apples}"),
    "dollars": number("\\$X"),
    "percent": number("X\\%"),
    "degrees": number("X^\\circ"),
    "a decimal": number("X.0"),
    "two decimals": number("X.00"),
    "a fraction": number("\\frac{X}{1}"),
    "scientific": number("Xe0"),
    "thousands by comma": thousands(","),
    "thousands by thin space": thousands("\\,"),
    "thousands by comma in braces": thousands("{,}"),
    "thousands by negative space": thousands(",\\!"),
    "name": scalar("x = X"),
    "name of a length": scalar("AB = X"),
    "plus nothing": scalar("X + 0"),
    "times one": scalar("1 \\cdot (X)"),
    "parentheses": scalar("(X)"),
    "other order of a sum": swapped_sum,
    "other order of a list": backwards,
    "words without their command": lambda gold: found[1] if (found := WORDS.fullmatch(gold)) else None,
    "words in other fonts": lambda gold: f"\\textbf{{{found[1]}}}" if (found := WORDS.fullmatch(gold)) else None,
    "words in capitals": lambda gold: found[1].upper() if (found := WORDS.fullmatch(gold)) else None,
    "base in braces": lambda gold: f"{found[1]}_{{{found[2]}}}" if (found := BASED.fullmatch(gold)) else None,
    "base in words": lambda gold: (
        f"{found[1]} \\text{{ (base {found[2]})}}" if (found := BASED.fullmatch(gold)) else None
    ),
    "bmatrix": replaced("pmatrix", "bmatrix"),
}


def other_base(gold: str) -> str | None:
    found = BASED.fullmatch(gold)
    return f"{found[1]}_{int(found[2]) + 1}" if found else None


def other_digits(gold: str) -> str | None:
    """The last digit of all, one more."""
    digits = list(re.finditer("[0-9]", gold))
    if not digits or re.search(r"\^[23]$|_", gold):
        return None
    last = digits[-1].start()
    return gold[:last] + str((int(gold[last]) + 1) % 10) + gold[last + 1 :]


def permuted(gold: str) -> str | None:
    found = TUPLE.fullmatch(gold.replace(" ", ""))
    items = found[2].split(",") if found else []
    return f"({','.join(items[1:] + items[:1])})" if len(set(items)) > 1 else None


def other_ends(gold: str) -> str | None:
    """Intervals with their ends open for closed."""
    if not re.search(r"\\infty|[\[\]]", gold) or "matrix" in gold:
        return None
    return gold.translate(str.maketrans("()[]", "[]()"))


def negated(gold: str) -> str | None:
    return f"-({gold})" if is_scalar(gold) and gold != "0" else None


def but_0_and_1(template: str) -> Rewriting:
    return lambda gold: template.replace("X", gold) if is_scalar(gold) and gold not in ("0", "1") else None


def but_small(template: str) -> Rewriting:
    return lambda gold: template.replace("X", gold) if WHOLE.fullmatch(gold) and int(gold) > 2 else None


HARMFUL: Mapping[str, Rewriting] = {
    "one more": scalar("X + 1"),
    "one less": scalar("X - 1"),
    "a little more": scalar("X + 10^{-12}"),
    "other sign": negated,
    "double": but_0_and_1("2 \\cdot (X)"),
    "another digit": number("X1"),
    "other last digit": other_digits,
    "other base": other_base,
    "a base for none": but_small("X_9"),
    "square": but_0_and_1("(X)^2"),
    "root": but_0_and_1("\\sqrt{X}"),
    "exponent": but_small("(X)^{99}"),
    "factorial": but_small("X!"),
    "inverse": but_small("\\frac{1}{X}"),
    "an unknown": but_0_and_1("X z"),
    "imaginary": but_0_and_1("X \\cdot i"),
    "plus or minus": but_0_and_1("\\pm X"),
    "or": scalar("X or 77"),
    "or before": scalar("77 or X"),
    "or in text": scalar("X \\text{ or } 77"),
    "and": scalar("X and 77"),
    "comma": scalar("X, 77"),
    "comma before": scalar("77, X"),
    "semicolon": scalar("77; X"),
    "to": scalar("77 to X"),
    "between": scalar("between 77 and X"),
    "three numbers": number("77 78 X"),
    "not": anything("not X"),
    "it is not": anything("It is not $X$"),
    "not in text": anything("\\text{not } X"),
    "unequal": anything("\\neq X"),
    "more than": scalar("more than X"),
    "greater": scalar("> X"),
    "false equation": number("77 = X"),
    "equation that goes on": number("X = 77"),
    "unsure": anything("X?"),
    "or words": lambda gold: f"{gold} or otherwise" if "\\text{" in gold and not re.search("[0-9]", gold) else None,
    "permuted tuple": permuted,
    "other ends of an interval": other_ends,
    "one item more": lambda gold: f"{gold}, 77" if not is_scalar(gold) and "text" not in gold else None,
    "added in words": scalar("X plus 77 more"),
}
