"""The English words that count in a mathematical answer; all others are units, or the sentence around a value."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


SHORT = words(
    "the is are was of in to for per so has had by at on it its he she you we if as my all any her his who how an or "
    "and not no nor out one two six ten men day cup win won yes odd pm am "
    "ft cm mm km kg mg ml lb lbs oz hr hrs min mph yd mi sq deg"
)
"""Words of two or three letters; other letters as few as these are a product of unknowns."""

DENIALS = words("not no never neither nor none cannot except without unless wrong incorrect false")
CHANGES = words("minus negative opposite half double twice triple squared cubed")
"""An answer with one of these and a value denies the value or names another."""

BOUNDS = words("than over under above below between least most")
"""Directly before a value they make it a bound."""

SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

NUMERALS = words(
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand"
)

OPEN_ENDS = words("more less fewer")
"""After `or` they make a value a bound."""

ARTICLES = words("a an the")
