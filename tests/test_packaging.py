"""The wheel holds the leaf files, and neither it nor an editable installation reads the current folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.report.read.published import load_published

CHECKOUT = Path(__file__).resolve().parents[1]
PACKED = ("harness", "tasks", "baselines", "pyproject.toml", "LICENSE", "README.md")
RUN = ("run", "--method", "egspo-sa", "--task", "sudoku", "--budget", "updates=4")
WHERE = """
import sys
from harness import registry
print(sys.modules[registry.get_task("sudoku").__module__].__file__)
print(registry.recipes_folder())
"""

PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
WATCH = """
import os
import sys

def check(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and os.path.abspath(arguments[0]).startswith({left!r}):
        if not os.path.abspath(arguments[0]).startswith({kept!r}):
            raise RuntimeError(f"a file of the checkout was opened: {{arguments[0]}}")

sys.addaudithook(check)
"""
SMALL = ("--budget", "updates=2", "--set", "train.batch_size=8", "--set", "train.group_size=4")

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> str:
    """Runs a command without the variables that would change where modules or data come from."""
    hidden = ("PYTHONPATH", "HARNESS_DATA", "HARNESS_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no old build folder gets into it and nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (CHECKOUT / name).is_file():
            shutil.copy(CHECKOUT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", target, source, cwd=target)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel; it borrows the other packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    call(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    # A path in a .pth file is searched, the .pth files in it are not read: an editable harness stays unseen.
    own = Path(call(python, "-c", PACKAGES, cwd=folder).strip())
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def watched(installed: Path) -> Iterator[Path]:
    """The same, in which opening a file of the checkout is an error; the borrowed packages may lie below it."""
    own = Path(call(installed / "python", "-c", PACKAGES, cwd=installed).strip())
    text = WATCH.format(left=f"{CHECKOUT}{os.sep}", kept=f"{sys.prefix}{os.sep}")
    files = {"watch_checkout.py": text, "watch_checkout.pth": "import watch_checkout\n"}
    places = [own / name for name in files]
    for place, content in zip(places, files.values(), strict=True):
        place.write_text(content)
    yield installed
    for place in places:
        place.unlink()


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A working folder whose own `tasks`, `baselines` and pyproject.toml must be left alone."""
    for name in ("tasks/sudoku.py", "baselines/egspo.py"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text("raise SystemExit('a file of the current folder was run')\n")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def in_checkout(*patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in CHECKOUT.glob(pattern))
    return {str(path.relative_to(CHECKOUT)) for path in found}


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_of_the_package(wheel: Path) -> None:
    modules = in_checkout("harness/**/*.py")
    assert "harness/cli/main.py" in modules
    assert modules <= in_wheel(wheel)


def test_the_wheel_holds_the_leaf_files_and_all_that_lies_beside_them(wheel: Path) -> None:
    files = {name for name in in_checkout("tasks/**/*.*", "baselines/**/*.*") if "__pycache__" not in name}
    assert {"tasks/sudoku.py", "baselines/egspo.py", "baselines/recipes/egspo-sa.yaml"} <= files
    assert {f"harness/_builtin/{name}" for name in files} <= in_wheel(wheel)


def test_the_wheel_holds_the_tiny_model_and_its_card(wheel: Path) -> None:
    weights = in_checkout("harness/models/weights/*/*")
    assert {Path(name).suffix for name in weights} >= {".safetensors", ".json", ".md"}
    assert weights <= in_wheel(wheel)


def test_the_wheel_holds_the_templates_of_harness_new(wheel: Path) -> None:
    templates = in_checkout("harness/app/templates/*/*")
    assert len(templates) == 8
    assert templates <= in_wheel(wheel)


def test_the_wheel_holds_the_lm_eval_tasks_and_names_the_model_type(wheel: Path) -> None:
    tasks = in_checkout("harness/lmeval/yaml/*")
    assert "harness/lmeval/yaml/sudoku.yaml" in tasks
    assert tasks <= in_wheel(wheel)
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        said = archive.read(entry_points).decode()
    assert "[lm_eval.models]\ndiffusion_lm = harness.lmeval.model:DiffusionEvalLM\n" in said


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    assert {name.split("/")[0].split("-")[0] for name in in_wheel(wheel)} == {
        "harness",
        "diffusion_rl_harness",
    }


def test_the_wheel_finds_its_own_files_in_a_folder_that_has_others(installed: Path, poisoned: Path) -> None:
    task_file, recipes = call(installed / "python", "-c", WHERE, cwd=poisoned).splitlines()
    assert Path(task_file).is_relative_to(installed.parent)
    assert Path(task_file).parts[-4:] == ("harness", "_builtin", "tasks", "sudoku.py")
    assert Path(recipes) == Path(task_file).parents[1] / "baselines" / "recipes"


def test_the_wheel_finds_the_published_numbers(installed: Path, poisoned: Path) -> None:
    count = "from harness.report.read.published import load_published; print(len(load_published().values))"
    assert int(call(installed / "python", "-c", count, cwd=poisoned)) == len(load_published().values)


def test_the_editable_installation_finds_its_own_files_in_a_folder_that_has_others(poisoned: Path) -> None:
    task_file, recipes = call(sys.executable, "-c", WHERE, cwd=poisoned).splitlines()
    assert Path(task_file) == CHECKOUT / "tasks" / "sudoku.py"
    assert Path(recipes) == CHECKOUT / "baselines" / "recipes"


def test_the_wheel_trains_in_a_folder_that_has_tasks_of_its_own(installed: Path, poisoned: Path) -> None:
    call(installed / "harness", *RUN, cwd=poisoned)
    assert len(list(poisoned.glob("results/runs/sudoku/egspo-sa/*/*/status.json"))) == 1


def test_the_editable_installation_trains_in_a_folder_that_has_tasks_of_its_own(poisoned: Path) -> None:
    call(Path(sys.executable).parent / "harness", *RUN, cwd=poisoned)
    assert len(list(poisoned.glob("results/runs/sudoku/egspo-sa/*/*/status.json"))) == 1


def test_a_stranger_adds_a_method_and_a_task_and_uses_no_file_of_the_checkout(watched: Path, tmp_path: Path) -> None:
    """As the two READMEs say, in an empty folder, with smaller budgets."""

    def harness(*arguments: str | Path) -> str:
        return call(watched / "harness", *arguments, cwd=tmp_path)

    mine, task = ("--include-path", "mine"), ("--include-path", "backwards")
    assert "mine/mine.py\n" in harness("new", "method", "mine")
    harness("run", "--method", "mine,egspo,d1", "--task", "sudoku", *mine, *SMALL, "--set", "evaluation.items=16")
    runs = {path.parts[-4]: path.parent for path in tmp_path.glob("results/runs/sudoku/*/*/*/status.json")}
    assert runs.keys() == {"mine", "egspo", "d1"}
    compared = ("--against", runs["egspo"], "--mine", runs["mine"], "--items", "16", "--batch-size", "16")
    assert "mine-" in harness("compare", "--task", "sudoku", *compared, *mine)

    harness("new", "task", "backwards")
    sft = ("--out", "backwards/tiny-backwards", "--completion-length", "16", "--steps", "2", "--batch-size", "8")
    harness("sft", "--task", "backwards", *task, *sft)
    harness("run", "--method", "mine,d1", "--task", "backwards", *mine, *task, *SMALL, "--set", "evaluation.items=16")
    model = ("--model", "diffusion_lm", "--model_args", "pretrained=tiny", "--tasks", "harness_backwards")
    assert "harness_backwards" in harness("lm-eval", "run", *task, *model, "--limit", "8")
    harness("report", *mine, *task)
    page = (tmp_path / "results/report/report.md").read_text()
    assert "harness run --method mine --task backwards --model tiny" in page
    assert "--include-path mine --include-path backwards" in page
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "backwards", "mine")
    assert "6 passed" in call(watched / "python", *tests, cwd=tmp_path)
