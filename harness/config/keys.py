"""All configuration keys: what each means, takes and is by default, as the configuration classes have it. No torch, but
a method's own file has to be run for its options, and may import it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.config.meanings import meanings, summary
from harness.config.naming import counts
from harness.config.tree import Execution, MethodConfig, RunConfig
from harness.errors import UserError

METHOD, EXECUTION = "method", "execution"
NOT_KEYS = ("method", "task")
"""Fields of RunConfig that are chosen by options of their own."""
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a recipe and of --set.

    name: dotted. method: whose option it is, empty for a key of all methods. type: in words. choices: empty where any
    value of the type may be right. counts: whether it counts in the name of a run's folder, in words.
    """

    name: str
    method: str
    type: str
    default: Any
    choices: tuple[str, ...]
    meaning: str
    counts: str

    @property
    def section(self) -> str:
        """What stands before the last dot."""
        return self.name.rpartition(".")[0]

    @property
    def takes(self) -> str:
        """The choices, or the type."""
        return ", ".join(map(shown, self.choices)) or self.type

    def to_record(self) -> dict[str, Any]:
        """Plain values."""
        values = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        renamed = {"key": values.pop("name"), "names_the_run": values.pop("counts")}
        return {**renamed, **values}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Keys that have all but their last part in common. cls: the class that they are the fields of."""

    name: str
    cls: type
    keys: tuple[Key, ...]

    @property
    def about(self) -> str:
        """What the class says about itself."""
        return summary(self.cls)


@functools.cache
def common_sections() -> tuple[Section, ...]:
    """The keys that every method has, in the order of their classes."""
    whole = RunConfig(method=MethodConfig(name=""), task="")
    return (*_sections(whole, "", leaves_out=NOT_KEYS), *_sections(Execution(), EXECUTION))


def method_section(method: str) -> Section:
    """The options of a method, whose file is run. Raises UserError for one that is unknown or cannot be loaded."""
    name = registry.canonical_name("method", method)
    cls = registry.get_method(name).Config
    bare = [item.name for item in dataclasses.fields(cls) if not _has_default(item)]
    if bare:
        raise UserError(f"The options of method '{name}' need defaults, and {', '.join(bare)} of its Config have none.")
    first, *others = _sections(cls(), METHOD, method=name)
    return dataclasses.replace(first, keys=(*first.keys, *(key for section in others for key in section.keys)))


def all_sections(methods: Iterable[str] | None = None) -> tuple[Section, ...]:
    """Those of all methods, then those of each. methods: their names; all that are registered by default."""
    names = registry.names("method") if methods is None else methods
    return (*common_sections(), *map(method_section, names))


def find_keys(name: str) -> tuple[Key, ...]:
    """The keys that `name` stands for: one by its dotted name, all of a section (`optimizer`), all that end in it
    (`learning_rate`), the options of a method (`espo`); none where nothing is called so.

    Methods' files are run only where a key of all methods does not answer to a dotted name or a section.
    """
    common = tuple(key for section in common_sections() for key in section.keys)
    if found := tuple(key for key in common if key.name == name or f"{key.name}.".startswith(f"{name}.")):
        return found
    if registry.entry("method", name):
        return method_section(name).keys
    options = tuple(key for method in registry.names("method") for key in method_section(method).keys)
    return tuple(key for key in (*common, *options) if name in (key.name, key.section, key.name.rpartition(".")[2]))


def shown(value: Any) -> str:
    """A value as a recipe has it: text without quotes, `true`, `''` for an empty text, `[]`."""
    if isinstance(value, str):
        return value or "''"
    return json.dumps(value, default=str)


def _sections(config: Any, name: str, *, method: str = "", leaves_out: tuple[str, ...] = ()) -> Iterator[Section]:
    """The section of a configuration object, and then those inside it."""
    inner = {
        item.name: value
        for item in dataclasses.fields(config)
        if item.name not in leaves_out and dataclasses.is_dataclass(value := getattr(config, item.name))
    }
    names = [item.name for item in dataclasses.fields(config) if item.name not in (*inner, *leaves_out)]
    yield Section(name=name, cls=type(config), keys=tuple(_key(config, one, name, method) for one in names))
    for one, value in inner.items():
        yield from _sections(value, _dotted(name, one), method=method)


def _key(config: Any, field: str, section: str, method: str) -> Key:
    cls, name = type(config), _dotted(section, field)
    choices: Mapping[str, Iterable[str]] = getattr(sys.modules[cls.__module__], "CHOICES", {})
    return Key(
        name=name,
        method=method,
        type=_in_words(typing.get_type_hints(cls)[field]),
        default=getattr(config, field),
        choices=tuple(choices.get(name, choices.get(field, ()))),
        meaning=meanings(cls).get(field, ""),
        counts=counts(name),
    )


def _in_words(hint: Any) -> str:
    """The type of a value for a reader."""
    if isinstance(hint, types.UnionType):
        return " or ".join("null" if part is type(None) else _in_words(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list, each {_in_words(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is Mapping:
        return "mapping of keys to values"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _has_default(item: dataclasses.Field[Any]) -> bool:
    return item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
