"""The registry finds leaf files without running them, loads one at a time by path, tells what is wrong."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import registry
from harness.errors import UserError
from harness.task.base import Task

CHECKOUT = Path(__file__).resolve().parents[1]

TASK_FILE = """
from dataclasses import dataclass
from harness.registry import task
from harness.task.base import Task

@dataclass(frozen=True)
class Settings:
    size: "int" = 4

@task("{name}")
class Mine(Task):
    settings = Settings()
"""

METHOD_FILE = """
from harness import registry

@registry.method("{name}", "{alias}")
class Mine:
    pass
"""


@pytest.fixture
def builtin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation of its own with empty `tasks` and `baselines` folders."""
    root = tmp_path / "installation"
    (root / "tasks").mkdir(parents=True)
    (root / "baselines").mkdir()
    monkeypatch.setattr(registry, "_builtin_root", lambda: root)
    monkeypatch.setattr(registry, "_included", [])
    monkeypatch.setattr(registry, "_registered", {})
    registry._entries.cache_clear()
    for name in [name for name in sys.modules if name.startswith("harness_leaf.")]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    yield root
    registry._entries.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("harness_leaf."):
            del sys.modules[name]


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def run_python(code: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_task_is_listed_and_its_class_is_returned(builtin: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine"))
    assert registry.names("task") == ["mine"]
    assert issubclass(registry.get_task("mine"), Task)
    assert registry.get_task("mine").__name__ == "Mine"


def test_a_file_is_loaded_once(builtin: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine"))
    assert registry.get_task("mine") is registry.get_task("mine")


def test_listing_runs_no_file_and_loading_runs_only_the_one_asked_for(builtin: Path) -> None:
    put(builtin / "tasks", "good.py", TASK_FILE.format(name="good"))
    put(builtin / "tasks", "other.py", "raise SystemExit('was run')\n" + TASK_FILE.format(name="other"))
    assert registry.names("task") == ["good", "other"]
    assert registry.get_task("good").__module__.endswith(".good")
    assert not [name for name in sys.modules if name.startswith("harness_leaf.tasks_") and name.endswith(".other")]


def test_names_are_sorted_and_kinds_are_kept_apart(builtin: Path) -> None:
    put(builtin / "tasks", "z.py", TASK_FILE.format(name="b"))
    put(builtin / "tasks", "y.py", TASK_FILE.format(name="a"))
    put(builtin / "baselines", "b.py", METHOD_FILE.format(name="b", alias="c"))
    assert registry.names("task") == ["a", "b"]
    assert registry.names("method") == ["b"]


def test_an_alias_finds_the_method_under_its_canonical_name(builtin: Path) -> None:
    put(builtin / "baselines", "mine.py", METHOD_FILE.format(name="d1", alias="diffu-grpo"))
    assert registry.names("method") == ["d1"]
    assert registry.canonical_name("method", "diffu-grpo") == "d1"
    assert registry.canonical_name("method", "d1") == "d1"
    assert registry.get_method("diffu-grpo") is registry.get_method("d1")


def test_two_classes_of_one_file_are_two_methods(builtin: Path) -> None:
    text = METHOD_FILE.format(name="egspo", alias="e") + METHOD_FILE.format(name="egspo-sa", alias="es").replace(
        "class Mine", "class MineToo"
    )
    put(builtin / "baselines", "egspo.py", text)
    assert registry.names("method") == ["egspo", "egspo-sa"]
    assert registry.get_method("egspo").__name__ == "Mine"
    assert registry.get_method("egspo-sa").__name__ == "MineToo"


def test_two_decorators_on_one_class_are_two_methods(builtin: Path) -> None:
    text = METHOD_FILE.format(name="a", alias="b").replace("class Mine", '@registry.method("c")\nclass Mine')
    put(builtin / "baselines", "mine.py", text)
    assert registry.names("method") == ["a", "c"]
    assert registry.get_method("a") is registry.get_method("c")


def test_an_unknown_name_is_answered_with_the_nearest_and_all_choices(builtin: Path) -> None:
    put(builtin / "tasks", "sudoku.py", TASK_FILE.format(name="sudoku"))
    put(builtin / "tasks", "gsm8k.py", TASK_FILE.format(name="gsm8k"))
    expected = "Unknown task 'sudokku'. Did you mean 'sudoku'? Choices: gsm8k, sudoku."
    with pytest.raises(UserError) as caught:
        registry.get_task("sudokku")
    assert str(caught.value) == expected


def test_a_task_is_no_method(builtin: Path) -> None:
    put(builtin / "tasks", "sudoku.py", TASK_FILE.format(name="sudoku"))
    with pytest.raises(UserError, match="Unknown method 'sudoku'"):
        registry.get_method("sudoku")


def test_one_name_in_two_files_names_both_files(builtin: Path, tmp_path: Path) -> None:
    first = put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine"))
    second = put(tmp_path / "own", "theirs.py", TASK_FILE.format(name="mine"))
    with pytest.raises(UserError) as caught:
        registry.add_include_path(tmp_path / "own")
    assert f"Task 'mine' is defined in both '{first}' and '{second}'" in str(caught.value)


def test_a_refused_folder_leaves_the_registry_as_it_was(builtin: Path, tmp_path: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine"))
    put(tmp_path / "own", "theirs.py", TASK_FILE.format(name="mine"))
    with pytest.raises(UserError):
        registry.add_include_path(tmp_path / "own")
    assert registry.names("task") == ["mine"]


def test_an_alias_that_is_taken_is_refused_too(builtin: Path, tmp_path: Path) -> None:
    put(builtin / "baselines", "a.py", METHOD_FILE.format(name="a", alias="shared"))
    put(tmp_path / "own", "b.py", METHOD_FILE.format(name="b", alias="shared"))
    with pytest.raises(UserError, match="Method 'shared' is defined in both"):
        registry.add_include_path(tmp_path / "own")


def test_a_task_and_a_method_may_share_a_name(builtin: Path) -> None:
    put(builtin / "tasks", "x.py", TASK_FILE.format(name="x"))
    put(builtin / "baselines", "x.py", METHOD_FILE.format(name="x", alias="y"))
    assert registry.get_task("x") is not registry.get_method("x")


def test_an_included_folder_adds_tasks_and_methods(builtin: Path, tmp_path: Path) -> None:
    put(tmp_path / "own", "a.py", TASK_FILE.format(name="puzzle"))
    put(tmp_path / "own", "b.py", METHOD_FILE.format(name="learner", alias="l"))
    registry.add_include_path(tmp_path / "own")
    assert registry.names("task") == ["puzzle"]
    assert registry.get_method("l").__name__ == "Mine"


def test_files_of_one_name_in_two_included_folders_are_two_modules(builtin: Path, tmp_path: Path) -> None:
    for outer, name in (("one", "a"), ("two", "b")):
        (tmp_path / outer).mkdir()
        put(tmp_path / outer / "own", "mine.py", TASK_FILE.format(name=name))
        registry.add_include_path(tmp_path / outer / "own")
    assert registry.get_task("a").__module__ != registry.get_task("b").__module__


def test_a_user_folder_called_tasks_does_not_shadow_the_builtin_one(builtin: Path, tmp_path: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="ours"))
    put(tmp_path / "tasks", "mine.py", TASK_FILE.format(name="theirs"))
    registry.add_include_path(tmp_path / "tasks")
    assert registry.get_task("ours").__module__ != registry.get_task("theirs").__module__


def test_including_a_folder_twice_is_no_duplicate(builtin: Path, tmp_path: Path) -> None:
    put(tmp_path / "own", "a.py", TASK_FILE.format(name="puzzle"))
    registry.add_include_path(tmp_path / "own")
    registry.add_include_path(tmp_path / "own" / ".." / "own")
    assert registry.names("task") == ["puzzle"]


def test_a_missing_folder_is_refused(builtin: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'.*nowhere' is not a folder; --include-path takes"):
        registry.add_include_path(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder_is_refused(builtin: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "own", "a.py", TASK_FILE.format(name="puzzle"))
    with pytest.raises(UserError, match="takes a folder"):
        registry.add_include_path(path)


def test_a_folder_without_tasks_or_methods_is_refused(builtin: Path, tmp_path: Path) -> None:
    put(tmp_path / "own", "a.py", "class Plain: ...\n")
    with pytest.raises(UserError, match="has a class under @task"):
        registry.add_include_path(tmp_path / "own")


def test_a_name_that_is_no_literal_is_refused_with_its_line(builtin: Path) -> None:
    text = 'from harness.registry import task\n\nNAME = "x"\n\n@task(NAME)\nclass Mine: ...\n'
    path = put(builtin / "tasks", "mine.py", text)
    with pytest.raises(UserError) as caught:
        registry.names("task")
    assert str(caught.value) == f"'{path}' line 5: @task takes names in quotes, as in @task(\"mine\")."


@pytest.mark.parametrize("decorator", ["@task", "@task()", '@task("a", 3)', '@task(*["a"])', "@task(name='a')"])
def test_a_decorator_without_literal_names_is_refused(builtin: Path, decorator: str) -> None:
    put(builtin / "tasks", "mine.py", f"from harness.registry import task\n{decorator}\nclass Mine: ...\n")
    with pytest.raises(UserError, match="takes names in quotes"):
        registry.names("task")


def test_title_colour_and_ablations_are_read_without_running_the_file(
    builtin: Path,
) -> None:
    text = (
        "raise SystemExit('was run')\n"
        '@registry.method("mine", "m", title="Mine (2025)", colour="#12abEF", ablations=("size", "depth"))\n'
        "class Mine: ...\n"
    )
    path = put(builtin / "baselines", "mine.py", text)
    assert registry.entry("method", "m") == registry.Entry(
        kind="method",
        names=("mine", "m"),
        path=path,
        title="Mine (2025)",
        colour="#12abEF",
        ablations=("size", "depth"),
    )


def test_without_a_title_the_name_stands_for_it_and_an_unknown_name_has_no_entry(builtin: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine"))
    found = registry.entry("task", "mine")
    assert found is not None
    assert (found.title, found.colour, found.ablations) == ("mine", "", ())
    assert registry.entry("task", "yours") is registry.entry("method", "mine") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("title=NAME", 'title of @method must be a literal like "EGSPO-SA".'),
        ("title=''", "title of @method must be a literal"),
        ("title=f'{1}'", "title of @method must be a literal"),
        ("colour='red'", 'colour of @method must be a literal like "#D55E00".'),
        ("colour='#12345'", "colour of @method must be a literal"),
        ("colour=0xD55E00", "colour of @method must be a literal"),
        ("ablations=('a')", 'ablations of @method must be a literal like ("num_selected", "selection").'),
        ("ablations=('a', 3)", "ablations of @method must be a literal"),
        ("ablations=('a', *REST)", "ablations of @method must be a literal"),
        ("ablations={[]: 1}", "ablations of @method must be a literal"),
        (
            "color='#123456'",
            "Unknown option of @method 'color'. Did you mean 'colour'? Choices: ablations, colour, title.",
        ),
        ("**OPTIONS", "Unknown option of @method '**'."),
    ],
)
def test_an_option_that_does_not_fit_is_refused_with_its_line(builtin: Path, options: str, message: str) -> None:
    text = f'from harness import registry\n@registry.method("mine", {options})\nclass Mine: ...\n'
    path = put(builtin / "baselines", "mine.py", text)
    with pytest.raises(UserError) as caught:
        registry.names("method")
    assert str(caught.value).startswith(f"'{path}' line 2: {message}")


def test_a_task_has_a_title_and_no_colour(builtin: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.replace('"{name}"', '"mine", colour="#123456"'))
    with pytest.raises(UserError, match=r"Unknown option of @task 'colour'\. Choices: title\."):
        registry.names("task")


def test_a_class_with_options_is_registered_as_one_without(builtin: Path) -> None:
    text = METHOD_FILE.replace('"{name}", "{alias}"', '"mine", title="Mine", ablations=("size",)')
    put(builtin / "baselines", "mine.py", text)
    put(builtin / "tasks", "mine.py", TASK_FILE.replace('"{name}"', '"mine", title="Mine"'))
    assert registry.get_method("mine").__name__ == registry.get_task("mine").__name__ == "Mine"


def test_the_ablations_of_the_built_in_methods_are_fields_of_their_configs() -> None:
    for name in registry.names("method"):
        found = registry.entry("method", name)
        assert found is not None
        fields = {field.name for field in dataclasses.fields(registry.get_method(name).Config)}
        assert found.ablations
        assert set(found.ablations) <= fields


def test_a_file_that_is_not_python_is_refused_with_its_line(builtin: Path, tmp_path: Path) -> None:
    put(tmp_path / "own", "broken.py", "x = 1\nclass :\n")
    with pytest.raises(UserError, match=r"broken\.py' is not valid Python: .*, line 2"):
        registry.add_include_path(tmp_path / "own")


def test_a_file_with_a_zero_byte_is_refused(builtin: Path, tmp_path: Path) -> None:
    put(tmp_path / "own", "broken.py", "x = '\0'\n")
    with pytest.raises(UserError, match=r"broken\.py' is not valid Python"):
        registry.add_include_path(tmp_path / "own")


def test_a_file_that_fails_is_named_with_line_and_error(builtin: Path) -> None:
    path = put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine") + "\nSettings.absent\n")
    line = path.read_text().splitlines().index("Settings.absent") + 1
    with pytest.raises(UserError) as caught:
        registry.get_task("mine")
    assert str(caught.value).startswith(f"Cannot load '{path}': AttributeError at line {line}: ")
    assert isinstance(caught.value.__cause__, AttributeError)


def test_a_file_that_failed_is_not_taken_as_loaded(builtin: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine") + "\nraise KeyError('again')\n")
    for _ in range(2):
        with pytest.raises(UserError, match="KeyError"):
            registry.get_task("mine")
    assert not [name for name in sys.modules if name.startswith("harness_leaf.") and name.endswith(".mine")]


def test_a_class_that_is_no_task_is_refused(builtin: Path) -> None:
    put(builtin / "tasks", "mine.py", TASK_FILE.format(name="mine").replace("(Task)", ""))
    with pytest.raises(UserError, match=r"'Mine', which is not a subclass of harness\.task\.base\.Task"):
        registry.get_task("mine")


def test_a_decorator_from_elsewhere_registers_nothing(builtin: Path) -> None:
    put(
        builtin / "tasks",
        "mine.py",
        'def task(name): return lambda cls: cls\n@task("mine")\nclass Mine: ...\n',
    )
    with pytest.raises(UserError, match="does not register task 'mine'"):
        registry.get_task("mine")


def test_the_recipes_lie_beside_the_methods_in_a_checkout() -> None:
    assert registry.recipes_folder() == CHECKOUT / "baselines" / "recipes"


def test_a_package_without_its_leaf_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "harness" / "registry.py"))
    with pytest.raises(UserError, match="reinstall diffusion-rl-harness"):
        registry.recipes_folder()


def test_an_installed_package_uses_the_files_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "harness" / "_builtin").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "harness" / "registry.py"))
    assert registry.recipes_folder() == tmp_path / "harness" / "_builtin" / "baselines" / "recipes"


def test_listing_imports_no_torch() -> None:
    code = "import sys; from harness import registry; registry.names('task'), registry.names('method')\n"
    found = run_python(code + "print([name for name in ('torch', 'transformers') if name in sys.modules])", CHECKOUT)
    assert found == "[]"


def test_the_current_directory_is_never_searched(tmp_path: Path) -> None:
    put(tmp_path / "tasks", "sudoku.py", "raise SystemExit('the wrong sudoku was run')\n")
    put(tmp_path / "tasks", "own.py", TASK_FILE.format(name="own"))
    (tmp_path / "pyproject.toml").touch()
    code = (
        "import sys; from harness import registry\n"
        "cls = registry.get_task('sudoku')\n"
        "print('own' in registry.names('task'), sys.modules[cls.__module__].__file__)"
    )
    assert run_python(code, tmp_path) == f"False {CHECKOUT / 'tasks' / 'sudoku.py'}"
