"""Ways to write a mathematical answer: harmless ones, which leave it right, and harmful ones, which make it wrong.

Each is a function of the stored answer; None where it has nothing to change there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Rewriting = Callable[[str], str | None]

WHOLE = re.compile(r"-?[0-9]+")
TUPLE = re.compile(r"(?:\\left)?\(([^(),]+(?:,[^(),]+)+)(?:\\right)?\)")
BASED = re.compile(r"([0-9]+)_\{?([0-9]+)\}?")
COMPLEX = re.compile(r"(-?[0-9]+) ?([+-]) ?([0-9]*i)")
WORDS = re.compile(r"\\text\{\(?([A-Za-z]+)\)?\}")
FRACTION = re.compile(r"\\d?frac\{([0-9]+)\}\{([0-9]+)\}")
SIMPLE_ROOT = re.compile(r"\\sqrt\{?([0-9]+)\}?")
SURD = re.compile(r"([0-9]+) ?(\\sqrt\{?[0-9]+\}?|\\pi)")
POLYNOMIAL = re.compile(r"[0-9a-z^ ]+(?:[+-][0-9a-z^ ]+)+")
FACTORS = re.compile(r"(\([^()]*\))(\([^()]*\))")


def is_scalar(gold: str) -> bool:
    """Whether it is one value: no list, bracket, equation, word or numeral in a base."""
    return not re.search(r"[,=_]|\\(pm|in|cup|begin|text|mbox)|\\\{|[\[\]]", gold)


def anything(template: str) -> Rewriting:
    """The template with the answer for each X."""
    return lambda gold: template.replace("X", gold)


def scalar(template: str, *, but: tuple[str, ...] = ()) -> Rewriting:
    return lambda gold: template.replace("X", gold) if is_scalar(gold) and gold not in but else None


def number(template: str, *, above: int | None = None) -> Rewriting:
    def rewrite(gold: str) -> str | None:
        return template.replace("X", gold) if WHOLE.fullmatch(gold) and (above is None or int(gold) > above) else None

    return rewrite


def replaced(old: str, new: str) -> Rewriting:
    return lambda gold: gold.replace(old, new) if old in gold else None


def matched(pattern: re.Pattern[str], template: str) -> Rewriting:
    """The template, filled from a match of the whole answer."""
    return lambda gold: found.expand(template) if (found := pattern.fullmatch(gold)) else None


def thousands(separator: str) -> Rewriting:
    return lambda gold: f"{int(gold):,}".replace(",", separator) if WHOLE.fullmatch(gold) and len(gold) > 3 else None


# Harmless


def without_blanks(gold: str) -> str | None:
    """No blank but those that end a command before a letter and those of words."""
    if "\\text" in gold or "\\mbox" in gold:
        return None
    return re.sub(r"(\\[A-Za-z]+ (?=[A-Za-z]))|\s", lambda found: found[1] or "", gold)


def with_thin_spaces(gold: str) -> str | None:
    return re.sub(r"(?<=.) ?([-+=]) ?", r"\\,\1\\;", gold) if re.search(r".[-+=]", gold) else None


def in_unicode(gold: str) -> str | None:
    text = SIMPLE_ROOT.sub("\u221a\\1", gold)
    signs = {"\\pi": "\u03c0", "\\infty": "\u221e", "\\cup": "\u222a", "\\pm": "\u00b1", "\\in": "\u2208"}
    for command, sign in signs.items():
        text = re.sub(re.escape(command) + r"(?![A-Za-z])", sign, text)
    text = text.replace("^\\circ", "\u00b0").replace("-", "\u2212")
    return text if text != gold else None


def with_left_and_right(gold: str) -> str | None:
    if not re.search(r"[(\[]", gold) or "\\left" in gold or "\\text" in gold:
        return None
    return re.sub(r"([)\]])", r"\\right\1", re.sub(r"([(\[])", r"\\left\1", gold))


def other_order_of_terms(gold: str) -> str | None:
    terms = re.findall(r"[+-]?[^+-]+", gold.replace(" ", "")) if POLYNOMIAL.fullmatch(gold) else []
    return "+".join(reversed(terms)).replace("+-", "-").replace("++", "+") if terms else None


def other_order_of_a_list(gold: str) -> str | None:
    bare = "," in gold and not re.search(r"[()\[\]{}!$]|,[0-9]{3}|dots", gold)
    return ", ".join(item.strip() for item in reversed(gold.split(","))) if bare else None


HARMLESS: Mapping[str, Rewriting] = {
    "as it is": anything("X"),
    "trailing period": anything("X."),
    "period and blank": anything("X . "),
    "white space around": anything("\n  X \n"),
    "no blanks": without_blanks,
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
    "left and right": with_left_and_right,
    "without left and right": lambda gold: re.sub(r"\\(left|right)", "", gold) if "\\left" in gold else None,
    "dfrac": replaced("\\frac", "\\dfrac"),
    "tfrac": replaced("\\frac", "\\tfrac"),
    "quotient": matched(FRACTION, r"\1/\2"),
    "Unicode": in_unicode,
    "pi spelt out": replaced("\\pi", " pi"),
    "times": matched(SURD, r"\1 \\cdot \2"),
    "other order of a product": matched(SURD, r"\2 \\cdot \1"),
    "other order of brackets": matched(FACTORS, r"\2\1"),
    "other order of terms": other_order_of_terms,
    "other order of a complex sum": matched(COMPLEX, r"\2 \3 + \1"),
    "other order of a list": other_order_of_a_list,
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
    "words without their command": matched(WORDS, r"\1"),
    "words in another font": matched(WORDS, r"\\textbf{\1}"),
    "words in capitals": lambda gold: found[1].upper() if (found := WORDS.fullmatch(gold)) else None,
    "base in braces": matched(BASED, r"\1_{\2}"),
    "base in words": matched(BASED, r"\1 \\text{ (base \2)}"),
    "bmatrix": replaced("pmatrix", "bmatrix"),
}

# Harmful


def other_base(gold: str) -> str | None:
    found = BASED.fullmatch(gold)
    return f"{found[1]}_{int(found[2]) + 1}" if found else None


def other_last_digit(gold: str) -> str | None:
    digits = list(re.finditer("[0-9]", gold))
    if not digits or re.search(r"(text|mbox).*\^[23]$", gold):
        return None
    last = digits[-1].start()
    return gold[:last] + str((int(gold[last]) + 1) % 10) + gold[last + 1 :]


def other_first_sign(gold: str) -> str | None:
    """Another sign for the first number or unknown, also within brackets."""
    found = re.search(r"(-?)(?<![a-zA-Z^_{\\])([1-9][0-9]*)", gold)
    return gold[: found.start()] + ("" if found[1] else "-") + found[2] + gold[found.end() :] if found else None


def other_unknown(gold: str) -> str | None:
    unknown = re.search(r"(?<![A-Za-z\\{])[a-hj-z](?![A-Za-z])", gold)
    return gold.replace(unknown[0], "w") if unknown and "\\text" not in gold and "\\in" not in gold else None


def permuted(gold: str) -> str | None:
    found = TUPLE.fullmatch(gold.replace(" ", ""))
    items = found[1].split(",") if found else []
    return f"({','.join(items[1:] + items[:1])})" if len(set(items)) > 1 else None


def other_ends(gold: str) -> str | None:
    """Intervals with their ends open for closed."""
    interval = re.search(r"\\infty|[\[\]]", gold) and "," in gold
    return gold.translate(str.maketrans("()[]", "[]()")) if interval else None


HARMFUL: Mapping[str, Rewriting] = {
    "one more": scalar("X + 1"),
    "one less": scalar("X - 1"),
    "a little more": scalar("X + 10^{-12}"),
    "other sign": scalar("-(X)", but=("0",)),
    "other first sign": other_first_sign,
    "double": scalar("2 \\cdot (X)", but=("0", "\\infty")),
    "another digit": number("X1"),
    "other last digit": other_last_digit,
    "other base": other_base,
    "a base for none": number("X_9"),
    "square": scalar("(X)^2", but=("0", "1")),
    "root": scalar("\\sqrt{X}", but=("0", "1")),
    "exponent": number("X^{99}", above=1),
    "factorial": number("X!", above=2),
    "inverse": number("\\frac{1}{X}", above=1),
    "one unknown more": scalar("X z", but=("0",)),
    "other unknown": other_unknown,
    "imaginary": scalar("X \\cdot i", but=("0",)),
    "plus or minus": scalar("\\pm X", but=("0",)),
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
    "false approximation": number("X \\approx 777777"),
    "unsure": anything("X?"),
    "or another word": matched(WORDS, r"\1 or another"),
    "permuted tuple": permuted,
    "other ends of an interval": other_ends,
    "one item more": lambda gold: f"{gold}, 77" if not is_scalar(gold) and "\\text" not in gold else None,
    "one more in words": scalar("X plus 1 more"),
}
