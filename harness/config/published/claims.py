"""What papers claim, as data: `baselines/claims.yaml`, and a `claims.yaml` in a folder of the user's own, which may be
that of the runs. No torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config.build import build
from harness.config.recipes import built_in_folder
from harness.config.resolve import read_yaml
from harness.errors import UserError, require_choice
from harness.records.small import read_small

FILE = "claims.yaml"
LARGEST = 1 << 20
ANY = "*"
MEASURES = (
    "last",
    "chosen",
    "cost",
    "drop",
    "spread",
    "position",
    "fewer_steps",
    "lost_with_fewer_steps",
)
ALONG = ("flops_total", "flops_forward", "samples", "update")
HIGHER, LOWER, DIFFERENT = "higher", "lower", "different"
DIRECTIONS = (HIGHER, LOWER, DIFFERENT)


@dataclass(frozen=True, kw_only=True)
class Side:
    """The runs of one side. method: `*` for every method that has runs on both sides. reward: that of the method's
    recipe where it is empty. set: dotted settings in which they differ from the recipe; the learning rate is free."""

    method: str
    reward: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)

    def as_method(self, method: str) -> Side:
        """The side for one method in place of `*`."""
        return Side(method=method if self.method == ANY else self.method, reward=self.reward, set=self.set)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of a paper that runs can support or contradict.

    paper: as a reader calls it. arxiv: its number, empty for a check of our own. where: figure, table or section.
    measure: what is compared, along: the cost that `cost` is about. direction: of the first side against the second, or
    against half of the way for `position`, which has no second. tasks: all where it is empty.
    """

    name: str
    paper: str
    where: str
    says: str
    measure: str
    first: Side
    direction: str
    arxiv: str = ""
    along: str = ""
    second: Side | None = None
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_choice(f"{self.name}.measure", self.measure, MEASURES)
        require_choice(f"{self.name}.direction", self.direction, DIRECTIONS)
        if self.measure == "cost":
            require_choice(f"{self.name}.along", self.along, ALONG)
        elif self.along:
            raise UserError(f"{self.name}.along={self.along} is for the measure cost alone; leave it out.")
        if (self.second is None) != (self.measure == "position"):
            raise UserError(
                f"{self.name}.second names the runs that the first are compared with: every measure needs it but "
                "position, which has none."
            )


def load_claims(folders: Sequence[Path] = ()) -> tuple[Claim, ...]:
    """The built-in claims, then those of `folders`, the user's own. Raises UserError for a file that cannot be read,
    that does not fit, or that names a claim a second time."""
    found = {claim.name: claim for claim in _built_in()}
    for path in dict.fromkeys(folder.expanduser().resolve() / FILE for folder in folders):
        for claim in read_claims(path) if path.exists() else ():
            if claim.name in found:
                raise UserError(f"'{path}' names the claim '{claim.name}', which there is already; rename it.")
            found[claim.name] = claim
    return tuple(found.values())


@functools.cache
def _built_in() -> tuple[Claim, ...]:
    return tuple(read_claims(built_in_folder() / FILE))


def read_claims(path: Path) -> list[Claim]:
    """The claims of one file, in its order. Raises UserError as `load_claims` does."""
    try:
        tree = read_yaml(read_small(path, LARGEST).decode("utf-8"), f"'{path}'")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not isinstance(tree, Mapping):
        raise UserError(f"'{path}' must map names to claims, not {tree!r:.80}.")
    return [_claim(str(name), values, path) for name, values in tree.items()]


def _claim(name: str, values: Any, path: Path) -> Claim:
    try:
        if not isinstance(values, Mapping) or "name" in values:
            raise UserError(f"{name} must be a mapping of keys to values, without 'name'.")
        found: Claim = build(Claim, {**values, "name": name}, "")
    except UserError as error:
        raise UserError(f"'{path}', claim '{name}': {error}") from error
    except TypeError as error:
        missing = str(error).rpartition(": ")[2]
        raise UserError(f"'{path}', claim '{name}', lacks {missing}.") from error
    return found
