"""harness list: methods and tasks with their recipes, papers' protocols, published checkpoints."""

import json
import shutil
import time
from pathlib import Path

from harness import registry
from harness.cli.main import main
from harness.config.recipes import built_in_folder
from harness.records.schema import RunStatus

REFERENCE = next((Path(__file__).resolve().parents[2] / "results" / "reference").rglob("config.yaml")).parent

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
    built_in = sorted(path.stem for path in (built_in_folder() / "recipes").iterdir())
    assert (title, head) == ("Methods", ["Method", "Title", "Recipes"])
    assert [name for name, _ in lines] == sorted([*built_in, "mine"])
    assert lines[0][1].split(maxsplit=1) == ["AGRPO", "tiny, laptop, paper"]
    assert dict(lines)["mine"].split(maxsplit=1) == ["mine", "those of the tasks' protocols"]


def test_tasks_are_listed_with_what_their_protocols_evaluate(capsys):
    assert main(["list", "tasks"]) == 0
    _, head, lines = rows(capsys)
    assert head == ["Task", "Protocol", "Tokens", "Block", "Steps", "Items"]
    assert len(lines) == 18
    found = {(task, *rest.split()[:1]): rest.split()[1:] for task, rest in lines}
    assert found["countdown", "tiny"] == ["8", "2", "8", "256"]
    assert found["gsm8k", "paper"] == ["256", "32", "128", "1319"]
    assert found["gsm8k", "laptop"] == ["128", "32", "64", "64"]


def test_a_folder_of_runs_that_does_not_exist_is_refused(capsys, tmp_path):
    assert main(["list", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_protocols_are_listed_with_their_settings_and_what_cannot_be_followed(capsys):
    assert main(["list", "protocols"]) == 0
    listed, _, refused = capsys.readouterr().out.partition("\n\n")
    lines = [line.split(maxsplit=2) for line in listed.splitlines()[3:]]
    found = {(protocol, task): rest for protocol, task, rest in lines}
    assert found["wd1", "sudoku"].split() == ["256/32/128,", "512/32/256", "256", "0", "official", "<reasoning>"]
    assert found["agrpo", "sudoku"].split() == ["256/32/128", "256", "3", "robust", "-"]
    assert ("justgrpo", "mbpp") not in found
    assert "justgrpo on mbpp: JustGRPO evaluates items 11 to 510 of the full MBPP" in refused


def test_checkpoints_are_listed_with_their_place_and_stated_score(capsys, monkeypatch):
    from harness.models import layouts

    monkeypatch.delitem(layouts.LAYOUTS, "Dream")
    assert main(["list", "checkpoints"]) == 0
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith("egspo-sa/gsm8k ")]
    place = "fatemehdoudi97/egspo-llada-8b/gsm8k/egspo-sa"
    assert line.split() == ["egspo-sa/gsm8k", "lora", "llada", place, "85.03", "best", "egspo"]
    assert "Not loaded: gdsd-dream/sudoku, gdsd-dream/countdown, coupled-grpo/humaneval, coupled-grpo/mbpp: its" in text


def test_a_run_that_was_killed_is_told_from_one_that_runs():
    from harness.cli.list import _state

    counts = {"updates": 3, "samples": 24}
    assert _state(RunStatus(state="running", **counts, heartbeat=time.time())) == "running"
    assert _state(RunStatus(state="running", **counts)) == "dead: the same command goes on with it"
    assert _state(RunStatus(state="interrupted", **counts, reason="SIGTERM")) == "interrupted: SIGTERM"
    assert _state(RunStatus(state="finished", **counts)) == "finished"


def test_cells_that_wait_in_slurm_s_queue_are_listed_and_watched_until_none_is_left(capsys, tmp_path, monkeypatch):
    from harness.app import launch
    from harness.cli import list as listing

    shutil.copytree(REFERENCE, tmp_path / "runs" / REFERENCE.relative_to(REFERENCE.parents[3]))
    (tmp_path / "runs" / ".slurm").mkdir()
    begun = REFERENCE.relative_to(REFERENCE.parents[3]).as_posix()
    lines = [{"folder": begun, "job": "7_0"}, {"folder": "sudoku/d1/tiny/0-seed0", "job": "7_1"}]
    (tmp_path / "runs" / ".slurm" / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    states = iter([{"7_0": "running", "7_1": "pending"}, {"7_1": "running"}, {}])
    monkeypatch.setattr(launch, "_states", lambda: next(states))
    monkeypatch.setattr(listing, "WATCH_SECONDS", 0)
    assert main(["list", str(tmp_path / "runs"), "--watch"]) == 0
    first, second, third = capsys.readouterr().out.strip().split("\n\n")
    assert "finished (job 7_0, running)" in first
    assert "job 7_1, pending" in first
    assert "job 7_0" not in second
    assert "job 7_1, running" in second
    assert "job" not in third
