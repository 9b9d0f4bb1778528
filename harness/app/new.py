"""A method or a task of one's own to start from: small, complete, trained on the tiny model at once.

    <folder>/<name>.py               the method or the task
    <folder>/recipes/<name>.yaml     a method's recipes; the protocol of a task stands in protocols/<name>.yaml
    <folder>/test_<name>.py          its test
    <folder>/README.md               the commands

The files come from `harness/app/templates/`; docs/methods.md and docs/tasks.md show the same.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from harness import registry
from harness.errors import UserError, from_here, require_choice

TEMPLATES = Path(__file__).parent / "templates"
README = "README.md"
FILES: Mapping[registry.Kind, Mapping[str, str]] = {
    "method": {
        "{stem}.py": "method.py",
        "recipes/{name}.yaml": "recipes.yaml",
        "test_{stem}.py": "test.py",
        README: README,
    },
    "task": {
        "{stem}.py": "task.py",
        "protocols/{name}.yaml": "protocol.yaml",
        "test_{stem}.py": "test.py",
        README: README,
    },
}
"""Kind to files of the folder and the templates behind them."""

NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Written:
    """files: what was written. kept: a README that was there. commands: what to try first, one a line."""

    files: tuple[Path, ...]
    kept: tuple[Path, ...]
    commands: tuple[str, ...]


def new(kind: registry.Kind, name: str, folder: Path | None = None) -> Written:
    """Writes a method or a task called `name` into `folder`, by default one of that name.

    Raises UserError for a kind or name that cannot be, a name that is taken, and a file that is there; then nothing is
    written. A README of the folder stays as it is.
    """
    require_choice("kind", kind, FILES)
    place = Path(name) if folder is None else folder
    _check_name(kind, name)
    _check_free(kind, name, place)
    rendered = render(kind, name, place)
    kept = tuple(path for path in rendered if path.name == README and path.exists())
    files = tuple(path for path in rendered if path not in kept)
    for path in files:
        if path.exists():
            raise UserError(f"'{path}' is there already; choose another name, or another folder with --dir.")
    _check_module(_stem(name))
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered[path], encoding="utf-8")
    (block,) = COMMANDS.findall(rendered[place / README])
    return Written(files=files, kept=kept, commands=tuple(block.splitlines()))


def render(kind: registry.Kind, name: str, folder: Path) -> dict[Path, str]:
    """The files of a method or task and their texts."""
    stem = _stem(name)
    words = {
        "name": name,
        "stem": stem,
        "title": " ".join(re.split("[-_]", name)).capitalize(),
        "class_name": "".join(word.capitalize() for word in re.split("[-_]", name)),
        "folder": shlex.quote(str(folder)),
        "weights": shlex.quote(str(folder / f"tiny-{name}")),
    }
    return {
        folder / file.format(name=name, stem=stem): _template(kind, template).substitute(words)
        for file, template in FILES[kind].items()
    }


def _template(kind: registry.Kind, file: str) -> Template:
    return Template((TEMPLATES / kind / f"{file}.template").read_text(encoding="utf-8"))


def _stem(name: str) -> str:
    return name.replace("-", "_")


def _check_name(kind: registry.Kind, name: str) -> None:
    """Raises UserError for what is not a name."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"'{name}' cannot be the name of a {kind}: it takes small letters, digits and single dashes or underscores "
            "between them, a letter first, as my-method."
        )


def _check_free(kind: registry.Kind, name: str, folder: Path) -> None:
    """Raises UserError where a file of the harness, of the include paths or of the folder registers the name."""
    known = [registry.entry(kind, name), *registry.declared(folder)]
    for entry in known:
        if entry is not None and entry.kind == kind and name in entry.names:
            raise UserError(f"There is a {kind} '{name}' already, in '{from_here(entry.path)}'; choose another name.")


def _check_module(stem: str) -> None:
    """Raises UserError where a file of that name would hide a module from the test that lies beside it."""
    found = importlib.util.find_spec(stem)
    if stem in sys.stdlib_module_names or (found is not None and found.origin is not None):
        raise UserError(f"A file {stem}.py would hide Python's module '{stem}' from its test; choose another name.")
