"""The floors of the house, the rooms without torch, and who may print: read from all files' syntax trees.

A room imports from itself and from the floors below it, never from a room beside it, so there is no circle. Leaf files
(tasks/, baselines/) import the harness and never each other; the harness never imports them.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LEAF_FOLDERS = ("tasks", "baselines")

FLOORS = (
    {"errors", "randomness"},
    {"records"},
    {"data", "distributed"},
    {"rollout", "task"},
    {"registry"},
    {"config", "generators", "scoring"},
    {"models", "report"},
    {"diffusion"},
    {"evaluation"},
    {"rl", "lmeval"},
    {"finetuning", "diagnose", "planning"},
    {"bench"},
    {"app"},
    {"cli"},
    {"__main__"},
)
"""Rooms from the ground up."""

ROOMS = set().union(*FLOORS)
REPORT_FLOORS = ("labels", "read", "analysis", "figures", "chapters", "formats")
"""The rooms inside the report from the ground up; `labels` is a file that all of them use."""
WITHOUT_TORCH = {"report", "records", "config", "registry", "errors", "data", "task", "scoring", "generators"}
LONGER_LEAVES = {"egspo.py"}
"""EGSPO and EGSPO-SA are two methods in one leaf, and all others are described by how they differ from them."""
TORCH_AND_ITS_USERS = {"torch", "transformers", "peft", "accelerate", "safetensors", "lm_eval"}


@dataclass(frozen=True, kw_only=True)
class Module:
    """A Python file under its dotted name, with the dotted names that it imports."""

    name: str
    tree: ast.Module
    imports: frozenset[str]

    @property
    def room(self) -> str:
        """`models` for harness.models.tiny; empty for the package itself."""
        return ".".join(self.name.split(".")[1:2])


def parse(name: str, source: str, *, is_package: bool = False) -> Module:
    tree = ast.parse(source)
    package = name if is_package else name.rpartition(".")[0]
    return Module(name=name, tree=tree, imports=frozenset(imported(tree, package)))


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names of all imports, those inside functions too; those for type checkers alone are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node, package)


def named_by(module: Module) -> Iterator[str]:
    """Dotted names of what follows a `from`, with the imports for type checkers; the harness has no relative ones."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def read(folder: Path, name: str) -> dict[str, Module]:
    """All modules below `folder`, which has the dotted name `name`."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [name, *path.relative_to(folder).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        dotted = ".".join(parts[:-1] if is_package else parts)
        modules[dotted] = parse(dotted, path.read_text(), is_package=is_package)
    return modules


def roots(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def rooms(names: Iterable[str]) -> set[str]:
    """The rooms of the harness among dotted names; `harness.__version__` is in none."""
    return {name.split(".")[1] for name in names if name.startswith("harness.")} & ROOMS


def floor(room: str) -> int:
    return next(level for level, names in enumerate(FLOORS) if room in names)


def climbs(module: Module) -> set[str]:
    """The rooms that `module` imports from its own floor or one above."""
    return {room for room in rooms(module.imports) - {module.room} if floor(room) >= floor(module.room)}


def report_climbs(module: Module) -> set[str]:
    """The rooms inside the report that `module`, of one of them, imports from above its own floor."""
    level = REPORT_FLOORS.index(module.name.split(".")[2])
    used = {name.split(".")[2] for name in module.imports if name.startswith("harness.report.")}
    return {room for room in used if REPORT_FLOORS.index(room) > level}


def reached(start: Module, modules: Mapping[str, Module]) -> set[str]:
    """All dotted names that importing `start` may import in the end, through the harness's own modules."""
    seen: set[str] = set()
    open_names = {start.name, *start.imports}
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        parents = {name.rpartition(".")[0]} if name.startswith("harness.") else set()
        open_names |= parents | (modules[name].imports if name in modules else frozenset())
    return seen


def prints(module: Module) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        for node in ast.walk(module.tree)
    )


HARNESS = read(CHECKOUT / "harness", "harness")
LEAVES = {folder: read(CHECKOUT / folder, folder) for folder in LEAF_FOLDERS}
ALL_LEAVES = [module for modules in LEAVES.values() for module in modules.values()]
REPORT = [module for name, module in HARNESS.items() if name.startswith("harness.report.")]
FLOORED = [module for module in HARNESS.values() if module.room]


def by_name(module: Module) -> str:
    return module.name


@pytest.mark.parametrize("module", HARNESS.values(), ids=by_name)
def test_the_harness_never_imports_tasks_or_baselines(module: Module) -> None:
    assert not roots(module.imports) & {*LEAF_FOLDERS, "harness_leaf"}
    assert not any(name.startswith("harness._builtin") for name in module.imports)


@pytest.mark.parametrize("module", ALL_LEAVES, ids=by_name)
def test_leaf_files_never_import_each_other(module: Module) -> None:
    siblings = {name.partition(".")[2] for modules in LEAVES.values() for name in modules}
    assert not roots(module.imports) & ({*LEAF_FOLDERS, "harness_leaf"} | siblings)


@pytest.mark.parametrize("module", ALL_LEAVES, ids=by_name)
def test_leaf_files_use_neither_the_command_line_nor_the_report(module: Module) -> None:
    assert not rooms(module.imports) & {"cli", "report"}


@pytest.mark.parametrize("module", LEAVES["tasks"].values(), ids=by_name)
def test_tasks_need_no_torch(module: Module) -> None:
    assert not roots(reached(module, HARNESS)) & TORCH_AND_ITS_USERS


@pytest.mark.parametrize("module", FLOORED, ids=by_name)
def test_a_module_imports_from_its_own_room_and_the_floors_below(module: Module) -> None:
    assert module.room in ROOMS, f"give {module.room} a floor in FLOORS"
    assert climbs(module) == set()


@pytest.mark.parametrize("module", REPORT, ids=by_name)
def test_a_module_of_the_report_imports_from_its_own_room_and_those_before_it(module: Module) -> None:
    assert report_climbs(module) == set()


@pytest.mark.parametrize("module", [module for module in HARNESS.values() if module.room in WITHOUT_TORCH], ids=by_name)
def test_rooms_without_torch_reach_it_by_no_way(module: Module) -> None:
    assert not roots(reached(module, HARNESS)) & TORCH_AND_ITS_USERS


def test_no_two_modules_name_each_other_even_for_type_checkers() -> None:
    named = {module.name: set(named_by(module)) - {"harness"} for module in HARNESS.values()}
    assert [(name, other) for name in named for other in named[name] & named.keys() if name in named[other]] == []


@pytest.mark.parametrize("module", [*HARNESS.values(), *ALL_LEAVES], ids=by_name)
def test_only_the_command_line_prints(module: Module) -> None:
    assert module.name.startswith("harness.cli") or not prints(module)


@pytest.mark.parametrize(
    ("folder", "lines"), [("harness", 350), ("tasks", 350), ("baselines", 350), ("bench", 350), ("tests", 400)]
)
def test_a_file_that_grows_too_long_asks_for_a_room(folder: str, lines: int) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (CHECKOUT / folder).rglob("*.py")}
    assert lengths
    assert {str(path): length for path, length in lengths.items() if length > lines} == {}


def test_a_leaf_of_a_method_reads_in_one_go() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in (CHECKOUT / "baselines").glob("*.py")}
    assert lengths
    assert {name for name, length in lengths.items() if length > 220} <= LONGER_LEAVES


@pytest.mark.parametrize("folder", ["harness", "tasks", "baselines", "bench", "tests"])
def test_no_function_is_longer_than_a_screen(folder: str) -> None:
    functions = [
        (path.name, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path in (CHECKOUT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    assert [found for found in functions if found[2] > 60] == []


def test_the_package_has_few_loose_files() -> None:
    assert sorted(path.stem for path in (CHECKOUT / "harness").glob("*.py")) == [
        "__init__",
        "__main__",
        "errors",
        "randomness",
        "registry",
        "rollout",
    ]


def test_every_package_of_the_checkout_is_packed_into_the_wheel() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    here = {".".join(path.parent.relative_to(CHECKOUT).parts) for path in (CHECKOUT / "harness").rglob("*.py")}
    assert here <= set(settings["packages"])


def test_every_package_has_an_init_file() -> None:
    folders = {path.parent for path in (CHECKOUT / "harness").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_check_sees_every_form_of_import() -> None:
    source = (
        "import torch.nn as nn\n"
        "from harness import records\n"
        "from . import curves\n"
        "from ..models.tiny import build\n"
        "def f():\n    from tasks import sudoku\n"
        "try:\n    import peft\nexcept ImportError:\n    peft = None\n"
    )
    expected = {
        "torch.nn",
        "harness",
        "harness.records",
        "harness.report",
        "harness.report.curves",
        "harness.models.tiny",
        "harness.models.tiny.build",
        "tasks",
        "tasks.sudoku",
        "peft",
    }
    assert parse("harness.report.tables", source).imports == expected


def test_the_check_reads_relative_imports_of_a_package_file() -> None:
    assert parse("harness.report", "from . import curves\n", is_package=True).imports == {
        "harness.report",
        "harness.report.curves",
    }


def test_the_check_leaves_out_imports_for_type_checkers() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    assert roots(parse("harness.records", source).imports) == {"typing"}


def test_the_check_of_circles_sees_imports_for_type_checkers() -> None:
    source = "if TYPE_CHECKING:\n    from harness.app.plan import PlannedRun\n"
    assert set(named_by(parse("harness.app.trackers", source))) == {"harness.app.plan", "harness.app.plan.PlannedRun"}


def test_the_check_sees_a_step_up_and_allows_a_step_down() -> None:
    up = parse("harness.diffusion.sampler", "from harness.rl import trainer\n")
    down = parse("harness.rl.loop", "from harness.diffusion import sampler\n")
    level = parse("harness.rl.loop", "from harness.lmeval import options\n")
    own = parse("harness.rl.loop", "from harness.rl import optimizer\n")
    assert climbs(up) == {"rl"}
    assert climbs(level) == {"lmeval"}
    assert climbs(down) == climbs(own) == set()


def test_the_check_sees_a_step_up_inside_the_report() -> None:
    up = parse("harness.report.figures.bars", "from harness.report.chapters.table import Table\n")
    down = parse("harness.report.chapters.table", "from harness.report.figures import bars\n")
    assert report_climbs(up) == {"chapters"}
    assert report_climbs(down) == set()


def test_the_check_finds_torch_behind_another_module_and_in_a_package_s_own_file() -> None:
    modules = {
        module.name: module
        for module in (
            parse("harness.records", "from harness import middle\n"),
            parse("harness.middle", "def f():\n    import torch\n"),
            parse("harness.scoring", "import torch\n", is_package=True),
            parse("harness.scoring.answers", "import re\n"),
            parse("harness.errors", "import difflib\n"),
        )
    }
    assert "torch" in reached(modules["harness.records"], modules)
    assert "torch" in reached(modules["harness.scoring.answers"], modules)
    assert "torch" not in reached(modules["harness.errors"], modules)


def test_the_check_takes_the_version_for_no_room() -> None:
    assert rooms(parse("harness.report.page", "from harness import __version__, records\n").imports) == {"records"}


def test_the_check_sees_a_print_and_no_word_print() -> None:
    assert prints(parse("harness.rl.loop", "def f():\n    print(1)\n"))
    assert not prints(parse("harness.rl.loop", "console.print(1)\nblueprint = 'print(1)'\n"))
