"""Where tasks and methods come from: leaf files, found without running them and loaded by path on demand.

    @task("sudoku", title="Sudoku")    a class in tasks/sudoku.py
    @method("d1", "diffu-grpo")        a class in baselines/; the first name is canonical, the others are aliases

A decorator's arguments are read from the file's syntax tree, so that listing runs no code and imports no torch. The
built-in files lie in `harness/_builtin/` (wheel) or beside the package (checkout), the user's in the folders of
`--include-path` and HARNESS_PATH; the current directory is never searched.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness.errors import UserError, unknown_choice
from harness.task.base import Task

Kind = Literal["task", "method"]

TASKS = "tasks"
BASELINES = "baselines"
PATH_VARIABLE = "HARNESS_PATH"
"""Names folders of the user's own for good, separated as in PATH."""
_TaskClass = TypeVar("_TaskClass", bound=type[Task])
_MethodClass = TypeVar("_MethodClass", bound=type[Any])

_included: list[Path] = []
_registered: dict[tuple[str, Kind, str], type[Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One `@task` or `@method` as it is written in a file. `names[0]` is the canonical name.

    title: for a reader. colour: in figures, empty where any will do. ablations: fields of the method's Config that are
    worth varying one at a time.
    """

    kind: Kind
    names: tuple[str, ...]
    path: Path
    title: str
    colour: str = ""
    ablations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Option:
    """A keyword of a decorator. example: a value; fits: whether a value will do."""

    example: str
    fits: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_texts(values: Any) -> bool:
    """Whether there is one, and all are strings that are not empty."""
    return bool(values) and all(_is_text(value) for value in values)


_TITLE = _Option(example='"EGSPO-SA"', fits=_is_text)
_COLOUR = _Option(
    example='"#D55E00"', fits=lambda value: _is_text(value) and bool(re.fullmatch("#[0-9A-Fa-f]{6}", value))
)
_ABLATIONS = _Option(
    example='("num_selected", "selection")', fits=lambda value: isinstance(value, tuple) and _are_texts(value)
)
OPTIONS: Mapping[Kind, Mapping[str, _Option]] = {
    "task": {"title": _TITLE},
    "method": {"title": _TITLE, "colour": _COLOUR, "ablations": _ABLATIONS},
}


def task(*names: str, title: str = "") -> Callable[[_TaskClass], _TaskClass]:
    """Registers a subclass of harness.task.base.Task. All arguments must be literals: they are read from the source.

    names: the canonical one, then aliases. title: for a reader, the name by default. Raises TypeError for any other
    class.
    """

    def register(cls: _TaskClass) -> _TaskClass:
        if not issubclass(cls, Task):
            raise TypeError(f"@task decorates '{cls.__name__}', which is not a subclass of harness.task.base.Task")
        _record("task", names, cls)
        return cls

    return register


def method(
    *names: str, title: str = "", colour: str = "", ablations: tuple[str, ...] = ()
) -> Callable[[_MethodClass], _MethodClass]:
    """Registers a training method's class. All arguments must be literals: they are read from the source.

    names: the canonical one, then aliases. title: for a reader, the name by default. colour: in figures, `#RRGGBB`.
    ablations: fields of its Config; runs that differ in one of them alone are reported as an ablation.
    """

    def register(cls: _MethodClass) -> _MethodClass:
        _record("method", names, cls)
        return cls

    return register


def _record(kind: Kind, names: tuple[str, ...], cls: type[Any]) -> None:
    for name in names:
        _registered[cls.__module__, kind, name] = cls


def names(kind: Kind) -> list[str]:
    """The canonical names, sorted. Runs none of the files."""
    return sorted({entry.names[0] for entry in _all_entries().values() if entry.kind == kind})


def entry(kind: Kind, name: str) -> Entry | None:
    """What the decorator says of `name`, which may be an alias; None where no file registers it. Runs none of them."""
    return _all_entries().get((kind, name))


def canonical_name(kind: Kind, name: str) -> str:
    """The name under which results are kept: `diffu-grpo` is `d1`. Raises UserError for an unknown name."""
    return _find(kind, name).names[0]


def get_task(name: str) -> type[Task]:
    """The task's class; runs only the file that holds it.

    Raises UserError for an unknown name and for a file that fails while it is loaded.
    """
    return _get("task", name)


def get_method(name: str) -> type[Any]:
    """The method's class; runs only the file that holds it.

    Raises UserError for an unknown name and for a file that fails while it is loaded.
    """
    return _get("method", name)


def own_file(kind: Kind, name: str) -> Path | None:
    """The user's file that registers `name`, which may be an alias; None for what is built in, or unknown."""
    found = entry(kind, name)
    return found.path if found is not None and found.path.parent in include_paths() else None


def include_paths() -> tuple[Path, ...]:
    """The user's folders: those of HARNESS_PATH, then those that were added. Raises UserError where HARNESS_PATH names
    what is not a folder."""
    named = [Path(part) for part in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if part]
    for folder in named:
        if not folder.expanduser().is_dir():
            raise UserError(
                f"{PATH_VARIABLE} names '{folder}', which is not a folder; it takes folders of *.py files with "
                f"'{os.pathsep}' between them."
            )
    found = dict.fromkeys([*(folder.expanduser().resolve() for folder in named), *_included])
    return tuple(folder for folder in found if folder not in _builtin_folders())


def add_include_paths(folders: Iterable[Path]) -> None:
    """Adds folders with methods or tasks of the user's own. Raises UserError as `add_include_path` does."""
    for folder in folders:
        add_include_path(folder)


def add_include_path(folder: Path) -> None:
    """Adds the tasks and methods of the *.py files of a user's folder.

    Raises UserError where the folder is missing, holds no task or method, or uses a name that is taken; then
    nothing is added.
    """
    resolved = folder.expanduser().resolve()
    if not resolved.is_dir():
        raise UserError(f"'{folder}' is not a folder; --include-path takes a folder of *.py files.")
    known = _folders()
    if resolved in known:
        return
    entries = _entries((*known, resolved)).values()
    if not any(entry.path.parent == resolved for entry in entries):
        raise UserError(f'No *.py file in \'{folder}\' has a class under @task("name") or @method("name").')
    _included.append(resolved)


def recipes_folder() -> Path:
    """The folder of the built-in recipes, `<method>.yaml`."""
    return _builtin_root() / BASELINES / "recipes"


def published_folder() -> Path:
    """The folder of the numbers that papers print."""
    return _builtin_root() / BASELINES / "published"


def _builtin_root() -> Path:
    return _root_of(__file__)


@functools.cache
def _root_of(module: str) -> Path:
    package = Path(module).resolve().parent
    if (package / "_builtin").is_dir():
        return package / "_builtin"
    if (package.parent / "pyproject.toml").is_file():
        return package.parent
    raise UserError(f"The installation at '{package}' lacks its tasks and methods; reinstall diffusion-rl-harness.")


def _folders() -> tuple[Path, ...]:
    return (*_builtin_folders(), *include_paths())


def _builtin_folders() -> tuple[Path, ...]:
    root = _builtin_root()
    return (root / TASKS, root / BASELINES)


def _all_entries() -> Mapping[tuple[Kind, str], Entry]:
    return _entries(_folders())


@functools.cache
def _entries(folders: tuple[Path, ...]) -> Mapping[tuple[Kind, str], Entry]:
    """By kind and name; an entry is listed under each of its names."""
    found: dict[tuple[Kind, str], Entry] = {}
    for entry in (entry for folder in folders for entry in declared(folder)):
        for name in entry.names:
            if (entry.kind, name) in found:
                first = found[entry.kind, name].path
                raise UserError(
                    f"{entry.kind.capitalize()} '{name}' is defined in both '{first}' and '{entry.path}'; rename one."
                )
            found[entry.kind, name] = entry
    return found


def declared(folder: Path) -> list[Entry]:
    """What the *.py files of a folder register, read without running them."""
    return [entry for path in sorted(folder.glob("*.py")) for entry in _declared(path)]


def _declared(path: Path) -> list[Entry]:
    """The registrations on the top-level classes of one file, read without running it."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise UserError(f"'{path}' is not valid Python: {error.msg}, line {error.lineno}.") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    entries = (_entry(decorator, path) for node in classes for decorator in node.decorator_list)
    return [entry for entry in entries if entry is not None]


def _entry(decorator: ast.expr, path: Path) -> Entry | None:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called != "task" and called != "method":
        return None
    kind: Kind = "task" if called == "task" else "method"
    place = f"'{path}' line {decorator.lineno}"
    names = [_literal(item) for item in decorator.args] if isinstance(decorator, ast.Call) else []
    if not _are_texts(names):
        raise UserError(f'{place}: @{kind} takes names in quotes, as in @{kind}("mine").')
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    options = dict(_option(kind, keyword, place) for keyword in keywords)
    return Entry(kind=kind, names=tuple(names), path=path, **{"title": names[0], **options})


def _option(kind: Kind, keyword: ast.keyword, place: str) -> tuple[str, Any]:
    """Name and value of a keyword. Raises UserError for one that is unknown or does not fit."""
    name, value = keyword.arg or "**", _literal(keyword.value)
    option = OPTIONS[kind].get(name)
    if option is None:
        raise UserError(f"{place}: {unknown_choice(f'option of @{kind}', name, OPTIONS[kind])}")
    if not option.fits(value):
        raise UserError(f"{place}: {name} of @{kind} must be a literal like {option.example}.")
    return name, value


def _literal(node: ast.expr) -> Any:
    """The value of a literal, None for anything else."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _find(kind: Kind, name: str) -> Entry:
    found = entry(kind, name)
    if found is None:
        raise unknown_choice(kind, name, (known for other, known in _all_entries() if other == kind))
    return found


def _get(kind: Kind, name: str) -> type[Any]:
    path = _find(kind, name).path
    module = _load(path)
    if (module, kind, name) not in _registered:
        raise UserError(f"'{path}' does not register {kind} '{name}': its @{kind} is not harness.registry's.")
    return _registered[module, kind, name]


def _load(path: Path) -> str:
    """Runs a leaf file once and returns the name of its module in sys.modules."""
    name = _module_name(path)
    if name in sys.modules:
        return name
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the file runs
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        del sys.modules[name]
        raise UserError(f"Cannot load '{path}': {_place(error, path)}") from error
    return name


def _module_name(path: Path) -> str:
    """Files of one name in two folders are two modules."""
    folder = hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]
    return f"harness_leaf.{path.parent.name}_{folder}.{path.stem}"


def _place(error: Exception, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" at line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where}: {error}"
