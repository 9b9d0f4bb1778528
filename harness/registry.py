"""Where tasks and methods come from: leaf files, found without running them and loaded by path on demand.

    @task("sudoku")                a class in tasks/sudoku.py
    @method("d1", "diffu-grpo")    a class in baselines/; the first name is canonical, the others are aliases

Names are read from the files' syntax trees, so that listing them runs no code and imports no torch. The
built-in files lie in `harness/_builtin/` (wheel) or beside the package (checkout); the current directory is
never searched.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness.errors import UserError, unknown_choice
from harness.task.base import Task

Kind = Literal["task", "method"]

TASKS = "tasks"
BASELINES = "baselines"

_TaskClass = TypeVar("_TaskClass", bound=type[Task])
_MethodClass = TypeVar("_MethodClass", bound=type[Any])

_included: list[Path] = []
_registered: dict[tuple[str, Kind, str], type[Any]] = {}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One `@task` or `@method` as it stands in a file. `names[0]` is the canonical name."""

    kind: Kind
    names: tuple[str, ...]
    path: Path


def task(*names: str) -> Callable[[_TaskClass], _TaskClass]:
    """Registers a subclass of harness.task.base.Task under `names`, which must be string literals.

    Raises TypeError for any other class.
    """

    def register(cls: _TaskClass) -> _TaskClass:
        if not issubclass(cls, Task):
            raise TypeError(f"@task stands on '{cls.__name__}', which is not a subclass of harness.task.base.Task")
        _record("task", names, cls)
        return cls

    return register


def method(*names: str) -> Callable[[_MethodClass], _MethodClass]:
    """Registers a training method's class under `names`, which must be string literals."""

    def register(cls: _MethodClass) -> _MethodClass:
        _record("method", names, cls)
        return cls

    return register


def _record(kind: Kind, names: tuple[str, ...], cls: type[Any]) -> None:
    for name in names:
        _registered[cls.__module__, kind, name] = cls


def names(kind: Kind) -> list[str]:
    """The canonical names, sorted. Runs none of the files."""
    return sorted(entry.names[0] for entry in _all_entries() if entry.kind == kind)


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


def add_include_path(folder: Path) -> None:
    """Adds the tasks and methods of the *.py files of a user's folder.

    Raises UserError where the folder is missing, holds no task or method, or uses a name that is taken; then
    nothing is added.
    """
    resolved = folder.expanduser().resolve()
    if not resolved.is_dir():
        raise UserError(f"No folder '{folder}' to include; --include-path takes a folder of *.py files.")
    known = _folders()
    if resolved in known:
        return
    entries = _entries((*known, resolved))
    if not any(entry.path.parent == resolved for entry in entries):
        raise UserError(f'No *.py file in \'{folder}\' has a class under @task("name") or @method("name").')
    _included.append(resolved)


def recipes_folder() -> Path:
    """The folder of the built-in recipes, `<method>/<task>.yaml`."""
    return _builtin_root() / BASELINES / "recipes"


def published_folder() -> Path:
    """The folder of the numbers that papers print."""
    return _builtin_root() / BASELINES / "published"


def _builtin_root() -> Path:
    package = Path(__file__).resolve().parent
    if (package / "_builtin").is_dir():
        return package / "_builtin"
    if (package.parent / "pyproject.toml").is_file():
        return package.parent
    raise UserError(
        f"The installation at '{package}' has lost its tasks and methods; install diffusion-rl-harness again."
    )


def _folders() -> tuple[Path, ...]:
    root = _builtin_root()
    return (root / TASKS, root / BASELINES, *_included)


def _all_entries() -> tuple[Entry, ...]:
    return _entries(_folders())


@functools.cache
def _entries(folders: tuple[Path, ...]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    seen: dict[tuple[Kind, str], Path] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.py"))):
        for entry in _declared(path):
            for name in entry.names:
                if (entry.kind, name) in seen:
                    first = seen[entry.kind, name]
                    raise UserError(
                        f"{entry.kind.capitalize()} '{name}' stands in '{first}' and in '{path}'; rename one."
                    )
                seen[entry.kind, name] = path
            entries.append(entry)
    return tuple(entries)


def _declared(path: Path) -> list[Entry]:
    """The registrations on the top-level classes of one file, read without running it."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise UserError(f"'{path}' is not Python: {error.msg}, line {error.lineno}.") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    entries = (_entry(decorator, path) for node in classes for decorator in node.decorator_list)
    return [entry for entry in entries if entry is not None]


def _entry(decorator: ast.expr, path: Path) -> Entry | None:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called != "task" and called != "method":
        return None
    arguments = decorator.args if isinstance(decorator, ast.Call) else []
    literals = [item.value for item in arguments if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    if not literals or len(literals) < len(arguments):
        raise UserError(
            f"'{path}' line {decorator.lineno}: @{called} takes names in quotes, as in @{called}(\"mine\")."
        )
    return Entry(kind="task" if called == "task" else "method", names=tuple(literals), path=path)


def _find(kind: Kind, name: str) -> Entry:
    entries = [entry for entry in _all_entries() if entry.kind == kind]
    for entry in entries:
        if name in entry.names:
            return entry
    raise unknown_choice(kind, name, (known for entry in entries for known in entry.names))


def _get(kind: Kind, name: str) -> type[Any]:
    path = _find(kind, name).path
    module = _load(path)
    if (module, kind, name) not in _registered:
        raise UserError(f"'{path}' does not register {kind} '{name}': its @{kind} is not harness.registry's.")
    return _registered[module, kind, name]


def _load(path: Path) -> str:
    """Runs a leaf file once and returns the name under which its module stands in sys.modules."""
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
