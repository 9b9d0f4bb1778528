"""harness list: methods and tasks with their recipes and protocols."""

from harness import registry
from harness.cli.main import main

METHOD = """
from harness.registry import method


@method("mine")
class Mine:
    pass
"""


def rows(capsys):
    title, head, rule, *lines = capsys.readouterr().out.strip().splitlines()
    assert set(rule) == {"-", " "}
    return title, head.split(), [line.split(maxsplit=1) for line in lines]


def test_methods_are_listed_with_their_recipes_and_a_user_s_own_with_the_protocols(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_included", [])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(METHOD)
    assert main(["list", "methods", "--include-path", str(tmp_path / "own")]) == 0
    title, head, lines = rows(capsys)
    assert (title, head) == ("Methods", ["Method", "Title", "Recipes"])
    assert [name for name, _ in lines] == ["agrpo", "d1", "egspo", "egspo-sa", "espo", "mine"]
    assert lines[0][1].split(maxsplit=1) == ["AGRPO", "tiny, paper"]
    assert lines[-1][1].split(maxsplit=1) == ["mine", "those of the tasks' protocols"]


def test_tasks_are_listed_with_what_their_protocols_evaluate(capsys):
    assert main(["list", "tasks"]) == 0
    _, head, lines = rows(capsys)
    assert head == ["Task", "Protocol", "Tokens", "Block", "Steps", "Items"]
    assert len(lines) == 12
    found = {(task, *rest.split()[:1]): rest.split()[1:] for task, rest in lines}
    assert found["countdown", "tiny"] == ["8", "2", "8", "256"]
    assert found["gsm8k", "paper"] == ["256", "32", "128", "1319"]


def test_a_folder_of_runs_that_does_not_exist_is_refused(capsys, tmp_path):
    assert main(["list", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
