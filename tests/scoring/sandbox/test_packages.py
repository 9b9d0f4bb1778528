"""Which packages a program can import: the standard library, and those that the user names."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.app.evaluate import evaluate
from harness.app.plan import RunRequest, plan
from harness.cli.main import main
from harness.errors import UserError
from harness.registry import get_task
from harness.scoring.sandbox import bubblewrap
from harness.scoring.sandbox.client import Sandbox, missing, open_sandbox
from harness.scoring.sandbox.job import KNOWN_GOOD, Program
from harness.scoring.sandbox.packages import locate
from harness.task.base import TaskOptions

pytest.importorskip("numpy")
needs_bwrap = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
NOT_ALLOWED = "; programs import the standard library and what --allow-packages names"


@pytest.fixture(scope="module", params=["bubblewrap", "unsafe"])
def numerical(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if request.param == "bubblewrap" and missing():
        pytest.skip(missing())
    made = Sandbox(None if request.param == "unsafe" else bubblewrap.find(), 2, ("numpy",))
    yield made
    made.close()


def program(body: str, *tests: str) -> Program:
    return Program(source=f"import numpy as np\ndef f(x):\n    return {body}", tests=tests, functions={"f": "f"})


@needs_bwrap
@pytest.mark.parametrize("name", ["numpy", "torch", "requests", "yaml", "numpy.linalg", "no_such_package"])
def test_without_the_option_a_package_is_named_as_not_importable(name):
    done = open_sandbox().run([replace(KNOWN_GOOD, source=f"import {name}\n{KNOWN_GOOD.source}")])[0]
    top = name.partition(".")[0]
    assert done.reason == f"ModuleNotFoundError: No module named '{top}'{NOT_ALLOWED}"


@needs_bwrap
def test_a_missing_module_of_the_standard_library_is_no_matter_of_packages():
    source = f"import json.nothing\n{KNOWN_GOOD.source}"
    assert not open_sandbox().run([replace(KNOWN_GOOD, source=source)])[0].reason.endswith(NOT_ALLOWED)


@pytest.mark.parametrize(
    ("body", "test"),
    [
        ("int(np.sum(x))", "assert f([1, 2, 4]) == 7"),
        ("np.sum(x)", "assert f([1, 2, 4]) == 7"),
        ("np.float64(x).mean()", "assert f(2.5) == 2.5"),
        ("np.bool_(x > 1)", "assert f(2) is True"),
        ("np.array(x)", "assert f(3) == 3"),
        ("np.linalg.inv(np.array(x)).tolist()", "assert f([[2.0, 0.0], [0.0, 4.0]]) == [[0.5, 0.0], [0.0, 0.25]]"),
        ("[np.int32(x), np.uint8(3)]", "assert f(1) == [1, 3]"),
        ("np.random.default_rng(0).integers(5, size=3).tolist()", "assert len(f(1)) == 3"),
        ("np.fft.fft([1.0, 0.0]).tolist()", "assert f(1) == [1, 1]"),
    ],
)
def test_with_numpy_programs_compute_and_answer_in_its_scalars(numerical, body, test):
    assert numerical.run([program(body, test)])[0].reason == ""


def test_an_array_cannot_cross_to_the_tests(numerical):
    assert "type 'ndarray', which cannot cross" in numerical.run([program("np.zeros(3)", "f(1)")])[0].reason


def test_tests_may_import_it_too(numerical):
    test = "import numpy as np\nassert np.allclose(f(2), [2.0, 2.0])"
    assert numerical.run([program("[x, x]", test)])[0].reason == ""


@needs_bwrap
@pytest.mark.parametrize("attempted", ["import torch", "import pytest", "open('/packages/x', 'w')"])
def test_no_other_package_comes_with_it_and_it_cannot_be_changed(attempted):
    sandbox = open_sandbox(allowed=("numpy",))
    done = sandbox.run([replace(KNOWN_GOOD, source=f"{attempted}\n{KNOWN_GOOD.source}")])[0]
    assert done.reason.startswith(("ModuleNotFoundError", "OSError", "PermissionError"))


@pytest.mark.parametrize("name", ["no-such-package-here", "", "nu mpy", "../numpy", "os"])
def test_what_is_not_an_installed_package_is_refused_by_name(name):
    with pytest.raises(UserError, match="is not an installed package"):
        locate([name])


def test_a_package_is_all_that_its_list_of_files_names():
    names = {path.name for path in locate(["numpy"])}
    assert "numpy" in names
    assert f"numpy-{importlib.metadata.version('numpy')}.dist-info" in names
    assert all(path.exists() for path in locate(["numpy"]))


@needs_bwrap
def test_the_task_s_option_and_the_command_s_let_it_in(cases_folder, capsys, monkeypatch):
    task = get_task("mbpp")(TaskOptions(allow_packages=("numpy",)))
    assert task.sandbox() is not get_task("mbpp")().sandbox()
    file = str(cases_folder / "grading/mbpp_numpy.jsonl")
    for flags, right in ([], 0), (["--allow-packages", "numpy"], 1):
        assert main(["grade", file, "--task", "mbpp", "--json", *flags]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert (summary["correct"]["robust"], list(summary["packages"])) == (right, flags[1:])
    assert main(["grade", file, "--task", "mbpp", "--allow-packages", "nonsense"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "harness: --allow-packages: 'nonsense' is not an installed package; pip install it."
    )


def test_what_programs_may_import_is_part_of_the_name_of_a_run_that_has_programs(tmp_path):
    def planned(task: str, *names: str):
        return plan(RunRequest(method="egspo", task=task, data="builtin", runs=tmp_path, allow_packages=names))

    without, allowed = planned("mbpp"), planned("mbpp", "numpy", "pytest")
    assert allowed.identity.config_hash != without.identity.config_hash
    assert allowed.resolved.config.data.allow_packages == allowed.task.options.allow_packages == ("numpy", "pytest")
    assert planned("mbpp", "pytest", "NumPy", "numpy").identity == allowed.identity
    assert planned("sudoku", "numpy").identity == planned("sudoku").identity
    with pytest.raises(UserError, match="is not an installed package"):
        planned("mbpp", "no-such-package-here")


@needs_bwrap
def test_an_evaluation_records_what_programs_could_import_with_its_version():
    records = [
        evaluate("tiny", "mbpp", data="builtin", items=1, allow_packages=names).record for names in ((), ("numpy",))
    ]
    assert [record.packages for record in records] == [{}, {"numpy": importlib.metadata.version("numpy")}]
    assert records[0].identity != records[1].identity
