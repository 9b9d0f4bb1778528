"""Configuration keys that there are, and the nearest to one that there is not. No torch."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterable, Iterator

from harness.errors import UserError, did_you_mean, nearest


def leaf_keys(cls: type, where: str = "") -> Iterator[str]:
    """The dotted keys of a dataclass and of the dataclasses in it."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        key = f"{where}.{item.name}" if where else item.name
        if dataclasses.is_dataclass(hints[item.name]):
            yield from leaf_keys(typing.cast(type, hints[item.name]), key)
        else:
            yield key


def check_keys(given: Iterable[str], known: Collection[str]) -> None:
    """Raises UserError for a dotted key that is neither a known one, nor a section of some, nor below one."""
    for key in given:
        is_section = any(one.startswith(f"{key}.") for one in known)
        if key not in known and not is_section and not any(key.startswith(f"{one}.") for one in known):
            raise unknown_key(key, known)


def unknown_key(key: str, known: Collection[str]) -> UserError:
    """The error for a key that there is not: it asks for the nearest, and lists those of the same section."""
    section = key.rpartition(".")[0]
    while section and not any(one.startswith(f"{section}.") for one in known):
        section = section.rpartition(".")[0]
    start = f"{section}." if section else ""
    choices = sorted({one.removeprefix(start).partition(".")[0] for one in known if one.startswith(start)})
    where = f" of {section}" if section else ""
    return UserError(
        f"Unknown configuration key '{key}'.{did_you_mean(*near_keys(key, known))} Choices{where}: "
        f"{', '.join(choices)}."
    )


def near_keys(key: str, known: Iterable[str]) -> list[str]:
    """The keys that `key` is most likely meant to be: of its own section one with nearly its name or, as `lr`, with its
    name's initials; else keys of that name in other sections; else one that is spelt nearly so."""
    known = sorted(known)
    section, _, name = key.rpartition(".")
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == section}
    if near := nearest(name, beside) or next((one for one in beside if name == _initials(one)), ""):
        return [beside[near]]
    near = nearest(key, known)
    return keys_called(key, known) or ([near] if near else [])


def keys_called(name: str, known: Iterable[str]) -> list[str]:
    """The keys that end in `name`, dots, dashes and underscores being alike; else those with its last part as their
    name, or with a name of these initials."""
    ends, last = f"_{_plain(name)}", name.rpartition(".")[2]
    leaves = {one: one.rpartition(".")[2] for one in known}
    whole = [one for one, leaf in leaves.items() if f"_{_plain(one)}".endswith(ends) and leaf in ends]
    return whole or [one for one, leaf in leaves.items() if last in (leaf, _initials(leaf))]


def _plain(key: str) -> str:
    return key.replace(".", "_").replace("-", "_")


def _initials(name: str) -> str:
    """`lr` of learning_rate; empty for a name of one word."""
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""
