"""The pages of docs/ that are made from the code: all configuration keys, all recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from harness import registry
from harness.app import catalogue
from harness.config.keys import METHOD, Key, Section, common_sections, method_section, shown

COMMAND = "python -m harness.cli.reference docs"
MADE = f"<!-- Made by `{COMMAND}`; changes belong into the docstrings and recipes that it reads. -->"
CONFIGURATION = """\
A key is set by a line of a [recipe](protocol.md#configuration) or by `--set key=value`. `harness show KEY` says who
sets it; `harness list keys` shows all of them, with `--include-path DIR` those of your own methods too. The last column
says whether a key counts in the name of a run's folder: where it differs from a frozen value (yes), not at all (no),
beside the hash, or where the learning rate depends on the budget (under a schedule)."""
RECIPES = """\
`harness run` takes `tiny` and `small` with the embedded models and `paper` with others; `--recipe` names another
one. `harness show RECIPE --task T` prints every value with its source and meaning. Where a value is known from, and
why, stands in `baselines/recipes/` and `baselines/protocols/tasks/`. The last column names
those whose papers or code state values of it."""


def configuration_page() -> str:
    """docs/configuration.md: every key with what it takes, its default and its meaning."""
    lines = [
        "# Configuration keys",
        "",
        MADE,
        "",
        *CONFIGURATION.splitlines(),
        "",
    ]
    seen: dict[type, Section] = {}
    for section in common_sections():
        lines += _section(section, seen.get(section.cls))
        seen.setdefault(section.cls, section)
    lines += [
        "## Options of methods",
        "",
        f"They are called `{METHOD}.NAME`, and count in the name of a run's folder.",
        "",
    ]
    for name in registry.names("method"):
        options = method_section(name)
        lines += [f"### {name}", "", options.about, "", *_table(options.keys, METHOD, names_the_run=False), ""]
    return "\n".join(lines).rstrip() + "\n"


def recipes_page() -> str:
    """docs/recipes.md: every recipe with its tasks, its model and whose values it holds."""
    rows = [
        (f"`{one['recipe']}`", ", ".join(one["tasks"]), one["model"] or "tiny", ", ".join(one["values_from"]))
        for one in catalogue.recipes()
    ]
    lines = [
        "# Recipes",
        "",
        MADE,
        "",
        *RECIPES.splitlines(),
        "",
        *_rows(("recipe", "tasks", "model", "values from"), rows),
    ]
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {"configuration.md": configuration_page, "recipes.md": recipes_page}


def _section(section: Section, same: Section | None) -> Iterator[str]:
    """same: an earlier section of the same class."""
    yield from (f"## {section.name or 'The run'}", "", section.about, "")
    if same is None:
        yield from (*_table(section.keys, section.name), "")
        return
    differing = [
        f"`{key.name.rpartition('.')[2]}` {shown(key.default)}"
        for key, other in zip(section.keys, same.keys, strict=True)
        if key.default != other.default
    ]
    yield from (f"The keys are those of [{same.name}](#{same.name}). Other defaults: {', '.join(differing)}.", "")


def _table(keys: Sequence[Key], section: str, *, names_the_run: bool = True) -> list[str]:
    heads = ("key", "takes", "default", "meaning", *(("names the run",) if names_the_run else ()))
    rows = [
        (
            f"`{key.name.removeprefix(f'{section}.')}`",
            key.takes,
            f"`{shown(key.default)}`",
            key.meaning,
            *((key.counts,) if names_the_run else ()),
        )
        for key in keys
    ]
    return _rows(heads, rows)


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of GitHub's Markdown."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
