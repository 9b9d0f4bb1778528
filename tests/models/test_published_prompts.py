"""Prompts of the user's own and worked examples, from the command line to the record."""

import gzip
import hashlib
import json

import pytest
import yaml

from harness.cli.main import main

RECIPE = """
model: {lora: {rank: 4, alpha: 32.0, targets: all}}
rollout: {completion_length: 8, block_length: 8, num_steps: 2, temperature: 1.0}
train: {batch_size: 2, group_size: 2}
method: {num_selected: 2, slots_per_update: 1}
budget: {updates: 1}
evaluation: {items: 2, decoding: {completion_length: 8, block_length: 8, num_steps: 2}}
"""
PROMPTS = "sudoku: [{role: system, content: Be brief.}, {role: user, content: 'Fill {puzzle}, {{so}}.'}]"
EVALUATION, TRAINING = ([{"role": "user", "content": f"{verb} {{puzzle}}"}] for verb in ("Fill", "Learn"))
DECODING = ("--set", "completion_length=8", "--set", "block_length=8", "--set", "num_steps=2")


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text(PROMPTS)
    return path


def run(model, tmp_path, *options):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    names = ("--method", "egspo-sa", "--task", "sudoku", "--model", model, "--recipe", recipe, "--reward", "random")
    arguments = ("run", *names, "--data", "builtin", "--runs", tmp_path / "runs", *options)
    return main([str(argument) for argument in arguments])


def folders(tmp_path):
    return sorted(path.parent for path in (tmp_path / "runs").rglob("config.yaml"))


def test_a_run_records_its_prompts_and_never_shares_a_folder_with_another(published_llada, tmp_path, prompts):
    assert run(published_llada, tmp_path) == 0
    (plain,) = folders(tmp_path)
    assert run(published_llada, tmp_path, "--prompts", prompts, "--few-shot", 1) == 0
    (own,) = set(folders(tmp_path)) - {plain}
    digest = hashlib.sha256(PROMPTS.encode()).hexdigest()
    data = yaml.safe_load((own / "config.yaml").read_text())["config"]["data"]
    assert (data["prompts"], data["few_shot"]) == (digest, 1)
    environment = json.loads((own / "environment.json").read_text())
    assert environment["prompts"].pop("training")["published"] == "unverified"
    assert environment["prompts"] == {"file": str(prompts), "sha256": digest, "few_shot": 1}
    assert environment["data"]["train"]["items"] == 4095
    assert json.loads((plain / "environment.json").read_text())["data"]["train"]["items"] == 4096
    with gzip.open(own / "samples-last.jsonl.gz", "rt") as stream:
        prompt = json.loads(stream.readline())["prompt"]
    assert prompt.count("Fill ") == 2
    assert prompt.index("Be brief.") < prompt.index("Fill ") < prompt.index("<answer>\n") < prompt.rindex("Fill ")
    assert prompt.count(", {so}.") == 2


def test_an_evaluation_shows_and_records_them(published_llada, tmp_path, prompts):
    names = ("--model", published_llada, "--task", "sudoku", "--data", "builtin", "--items", 1, *DECODING)
    options = ("--prompts", prompts, "--few-shot", 2, "--out", tmp_path / "out")
    assert main(["eval", *(str(part) for part in (*names, *options))]) == 0
    (record,) = (tmp_path / "out").rglob("eval.jsonl")
    digest = hashlib.sha256(PROMPTS.encode()).hexdigest()
    found = json.loads(record.read_text())["prompts"]
    assert found == {"sha256": digest, "few_shot": 2, "train_data": "builtin"}


def test_the_beginning_of_the_answer_stands_behind_the_rendered_messages_and_is_not_scored(published_llada, tmp_path):
    path = tmp_path / "prefill.yaml"
    two = {"evaluation": [*EVALUATION, {"role": "assistant", "content": "<answer>"}], "training": TRAINING}
    path.write_text(yaml.safe_dump({"sudoku": two}))
    assert run(published_llada, tmp_path, "--prompts", path) == 0
    (folder,) = folders(tmp_path)
    with gzip.open(folder / "samples-last.jsonl.gz", "rt") as stream:
        sample = json.loads(stream.readline())
    assert sample["prompt"].count("Fill ") == 1
    assert sample["prompt"].endswith("<answer>")
    assert not sample["prompt"].removesuffix("<answer>").endswith("Fill ")
    assert not sample["text"].startswith("<answer>")
    trace = json.loads((folder / "traces.jsonl").read_text().splitlines()[0])
    assert "Learn " in trace["prompt"]
    assert "<answer>" not in trace["prompt"]


@pytest.mark.parametrize("option", ["--prompts", "--few-shot"])
@pytest.mark.parametrize("command", ["run", "eval"])
def test_the_tiny_model_takes_neither(command, option, tmp_path, prompts, capsys):
    value = str(prompts) if option == "--prompts" else "1"
    names = ["--method", "egspo"] if command == "run" else []
    place = ["--runs" if command == "run" else "--out", str(tmp_path / "new")]
    assert main([command, *names, "--task", "sudoku", option, value, *place]) == 2
    assert "The tiny model reads short fixed prompts" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "data.prompts=abc"), "give the file with --prompts FILE"),
        (("--set", "data.few_shot=-1"), "data.few_shot=-1 is negative"),
        (("--few-shot", "1", "--set", "train.max_prompt_length=32"), "train.max_prompt_length=32 would cut them off"),
        (("--few-shot", "5000"), "--few-shot 5000, but the training split has 4096"),
    ],
)
def test_bad_settings_are_one_sentence_and_write_nothing(published_llada, tmp_path, capsys, options, said):
    assert run(published_llada, tmp_path, *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_prompt_without_the_task_is_found_before_the_model_is_loaded(tmp_path, prompts, capsys):
    names = ("--method", "egspo", "--task", "gsm8k", "--model", "no/such", "--data", "builtin")
    assert main(["run", *names, "--recipe", "paper", "--prompts", str(prompts), "--runs", str(tmp_path / "r")]) == 2
    assert "has no prompt for 'gsm8k'; it has: sudoku" in capsys.readouterr().err
