"""Options that take one value are given once: a second one would silently replace the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typer.core import TyperCommand

from harness.errors import UserError

LISTS: Mapping[str, frozenset[str]] = {
    "run": frozenset({"--method", "--task", "--seed", "--budget"}),
    "plan": frozenset({"--method", "--task", "--seed", "--budget"}),
    "eval": frozenset({"--task", "--seed", "--length"}),
    "compare": frozenset({"--task", "--against", "--length", "--noise-batch-sizes", "--noise-dtypes"}),
    "grade": frozenset({"--k"}),
    "reproduce": frozenset({"--only", "--budget"}),
    "report": frozenset({"--methods", "--figures"}),
    "data": frozenset({"--task", "--checkpoints"}),
    "bench": frozenset({"--part"}),
    "sft": frozenset({"--task"}),
}
"""By command the options whose value may be several with commas between them."""
COUNTED = {2: "twice"}


class OnceCommand(TyperCommand):
    """A command that refuses an option given twice, unless it is one that may be repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises UserError for the first option that has more than its one value, where the parser takes the rest."""
        left = super().parse_args(ctx, [*args])
        if ctx.resilient_parsing:  # a shell asks how the line could go on
            return left
        given: dict[str, list[str]] = {}
        for option, value in _values(self, args):
            given.setdefault(option, []).append(value)
        for option, values in given.items():
            if len(values) > 1:
                raise _repeated(option, values, takes_several=option in LISTS.get(self.name or "", ()))
        return left


def _values(command: TyperCommand, arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options that take one value, with their values, of arguments that the parser has taken."""
    options: dict[str, Any] = {word: one for one in command.params for word in one.opts if word.startswith("-")}
    rest = iter(arguments)
    for word in rest:
        name, has_value, value = word.partition("=")
        if word == "--":
            return
        option = options.get(name)
        if option is None or option.is_flag or option.count:
            continue
        value = value if has_value else next(rest)
        if not option.multiple:
            yield option.opts[0], value


def _repeated(option: str, values: Sequence[str], *, takes_several: bool) -> UserError:
    count = COUNTED.get(len(values), f"{len(values)} times")
    several = takes_several and len({*values}) > 1
    fix = f"separate several values by commas: {option} {','.join(values)}" if several else "give it once"
    return UserError(f"{option} is given {count} ({', '.join(map(repr, values))}); {fix}.")
