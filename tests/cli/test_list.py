"""harness list: methods and tasks with their recipes, papers' protocols, published checkpoints."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness import registry
from harness.app import catalogue
from harness.cli.list import state_of
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
    assert lines[0][1].split(maxsplit=1) == ["AGRPO", "tiny, small, laptop, paper"]
    assert dict(lines)["mine"].split(maxsplit=1) == ["mine", "those of the tasks' protocols"]


def test_tasks_are_listed_with_what_their_protocols_evaluate(capsys):
    assert main(["list", "tasks"]) == 0
    _, head, lines = rows(capsys)
    assert head == ["Task", "Protocol", "Tokens", "Block", "Steps", "Items"]
    assert len(lines) == 24
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
    counts = {"updates": 3, "samples": 24}

    def said(**status):
        status = RunStatus(**counts, **status)
        return state_of({"state": catalogue.state(status), "reason": status.reason, "job": None})

    assert said(state="running", heartbeat=time.time()) == "running"
    assert said(state="running") == "dead: the same command goes on with it"
    assert said(state="interrupted", reason="SIGTERM") == "interrupted: SIGTERM"
    assert said(state="finished") == "finished"


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


def listed(capsys, *arguments):
    """The document that --json prints."""
    assert main(["list", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_are_listed_by_their_own_name_and_as_one_document(capsys, tmp_path):
    shutil.copytree(REFERENCE, tmp_path / REFERENCE.relative_to(REFERENCE.parents[3]))
    (run,) = listed(capsys, "runs", str(tmp_path))
    assert run == {
        "run": REFERENCE.relative_to(REFERENCE.parents[3]).as_posix(),
        "folder": str(tmp_path / REFERENCE.relative_to(REFERENCE.parents[3])),
        "state": "finished",
        "is_alive": False,
        "reason": "",
        "updates": run["updates"],
        "samples": run["samples"],
        "metric": "accuracy",
        "value": run["value"],
        "at": "last",
        "job": None,
    }
    assert 0 < run["value"] < 1
    assert listed(capsys, str(tmp_path)) == [run]
    (tmp_path / "empty").mkdir()
    assert listed(capsys, "runs", str(tmp_path / "empty")) == []


def test_watching_prints_no_single_document(capsys):
    assert main(["list", "--json", "--watch"]) == 2
    assert capsys.readouterr() == (
        "",
        "harness: --json prints one document, and --watch goes on; leave out one of the two.\n",
    )


def test_recipes_are_listed_with_tasks_model_and_whose_values_they_hold(capsys):
    assert main(["list", "recipes"]) == 0
    title, head, lines = rows(capsys)
    assert (title, head) == ("Recipes", ["Recipe", "Tasks", "Model", "Values", "from"])
    found = dict(lines)
    assert len(found) == 60
    assert found["espo:tiny"].split(maxsplit=2) == ["all", "tiny", "ours"]
    assert found["espo:paper"].split(maxsplit=2)[:2] == ["all", "GSAI-ML/LLaDA-8B-Instruct"]
    assert {"ESPO", "d1", "ours"} <= set(found["espo:paper"].split(maxsplit=2)[2].split(", "))
    (record,) = [one for one in listed(capsys, "recipes") if one["recipe"] == "egspo-sa:paper"]
    assert record["tasks"] == ["countdown", "gsm8k", "humaneval", "math500", "mbpp", "sudoku"]


def test_families_of_models_are_listed_with_what_is_supported(capsys):
    found = {one["model_type"]: one for one in listed(capsys, "models")}
    assert found["llada"]["class"] == "LlamaForCausalLM"
    assert (found["llada"]["attention"], found["llada"]["caches"]) == ("both directions", ["none", "prefix", "dual"])
    assert found["llada"]["trained_by"] == registry.names("method")
    assert "llada-1.5" in found["llada"]["checkpoints"]
    assert found["Dream"]["shifted_by_one"]
    assert (found["sdar"]["attention"], found["sdar"]["caches"]) == ("blocks", ["none"])
    assert "egspo" in found["sdar"]["trained_by"]
    assert "d1" not in found["sdar"]["trained_by"]
    assert found["a2d-qwen3"]["attention"] == "both directions or blocks"
    assert [name for name, one in found.items() if not one["compile"]] == ["lladamoe"]
    assert main(["list", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("a2d-llama ")]
    assert "all methods, 11 by blocks" in line
    assert "Llama 3 turned into a masked diffusion model" in line
    assert lines[-1].startswith("--model takes tiny, a folder or a hub id")


def test_keys_are_listed_whole_or_by_section_and_method(capsys):
    assert main(["list", "keys", "optimizer"]) == 0
    _, head, lines = rows(capsys)
    assert head == ["Key", "Of", "Takes", "Default", "Names", "the", "run", "Meaning"]
    found = dict(lines)
    assert len(found) == 9
    assert found["optimizer.schedule"].split()[:6] == ["all", "constant,", "cosine,", "linear", "constant", "yes"]
    (key,) = [one for one in listed(capsys, "keys", "espo") if one["key"] == "method.coupled"]
    assert key == {
        "key": "method.coupled",
        "names_the_run": "yes",
        "method": "espo",
        "type": "true or false",
        "default": True,
        "choices": [],
        "meaning": "a second input masks each mask's complement (the official code always does it).",
    }
    assert len(listed(capsys, "keys")) > 180


def test_a_key_that_there_is_not_is_one_sentence_with_the_nearest(capsys):
    assert main(["list", "keys", "optimiser"]) == 2
    assert capsys.readouterr().err.startswith("harness: 'optimiser' is neither a configuration key, nor a section, nor")


def test_tasks_protocols_and_checkpoints_are_documents_too(capsys):
    tasks = {one["task"]: one for one in listed(capsys, "tasks")}
    sizes = {"completion_length": 8, "block_length": 2, "num_steps": 8, "items": 256}
    assert tasks["countdown"]["protocols"]["tiny"] == sizes
    unavailable = [(one["protocol"], one["task"]) for one in listed(capsys, "protocols") if one["unavailable"]]
    assert ("justgrpo", "mbpp") in unavailable
    (weights,) = [one for one in listed(capsys, "checkpoints") if one["name"] == "egspo-sa/gsm8k"]
    assert (weights["score"], weights["not_loaded"]) == (85.03, "")


def test_lists_and_what_is_shown_of_runs_and_keys_import_no_torch(tmp_path):
    code = (
        "import sys; from harness.cli.main import main\n"
        "asked = (['list', 'methods'], ['list', 'tasks'], ['list', 'recipes'], ['list', 'protocols'],\n"
        "         ['list', sys.argv[1]], ['list', 'keys', 'train'], ['show', sys.argv[1]],\n"
        "         ['show', 'optimizer.learning_rate'], ['show', 'sudoku'])\n"
        "codes = [main(words) for words in asked]\n"
        "print(codes, [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(REFERENCE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"{[0] * 9} []"
