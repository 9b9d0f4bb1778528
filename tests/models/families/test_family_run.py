"""Every family all the way: train adapters, evaluate, evaluate through lm-eval, export, and evaluate the export."""

import gzip
import json
import shutil

import pytest

from harness.cli.main import main

RECIPE = """
model: {lora: {rank: 4, alpha: 32.0, targets: all}}
rollout: {completion_length: 16, block_length: 8, num_steps: 8, temperature: 1.0}
train: {batch_size: 4, group_size: 2, max_prompt_length: 32}
optimizer: {learning_rate: 1.0e-2, weight_decay: 0.0, max_gradient_norm: 10.0}
method: {num_selected: 2, slots_per_update: 1}
budget: {updates: 2}
evaluation: {items: 2, decoding: {completion_length: 16, block_length: 8, num_steps: 8}}
"""
DECODING = ("completion_length=16", "block_length=8", "num_steps=8")


def harness(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture
def completions(tmp_path):
    """Completions of a model named on the command line."""

    def evaluate(name, *options):
        out = tmp_path / "evals" / str(len(list(tmp_path.glob("evals/*"))))
        settings = [part for setting in DECODING for part in ("--set", setting)]
        arguments = ("--task", "sudoku", "--data", "builtin", "--items", 2, *settings, "--out", out)
        harness("eval", "--model", name, *options, *arguments)
        (samples,) = out.rglob("samples-*.jsonl.gz")
        with gzip.open(samples, "rt") as stream:
            return [json.loads(line)["text"] for line in stream]

    return evaluate


def lm_eval_completions(model, out):
    decoding = ",".join(("max_gen_toks=16", *DECODING[1:]))
    arguments = ["--model", "diffusion_lm", "--model_args", f"pretrained={model}", "--gen_kwargs", decoding]
    items = ("--tasks", "harness_sudoku", "--metadata", '{"data": "builtin"}', "--apply_chat_template", "--limit", 2)
    harness("lm-eval", "run", *arguments, *items, "--log_samples", "--output_path", out)
    (samples,) = out.rglob("samples_harness_sudoku_*.jsonl")
    return [json.loads(line)["resps"][0][0] for line in samples.read_text().splitlines()]


def run_of(model, tmp_path, method, recipe=RECIPE):
    """Two updates by a method."""
    (tmp_path / "recipe.yaml").write_text(recipe)
    names = ("--method", method, "--task", "sudoku", "--model", model, "--recipe", tmp_path / "recipe.yaml")
    harness("run", *names, "--reward", "random", "--data", "builtin", "--runs", tmp_path / "runs")
    (run,) = (tmp_path / "runs" / "sudoku" / method / model.name).iterdir()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    return run


BLOCKS = {"block_size": 8}


@pytest.mark.slow
@pytest.mark.usefixtures("tasks_indexed_once")
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        *((family, {}) for family in ("a2d-qwen3", "a2d-qwen2", "a2d-llama", "qwen2", "lladamoe", "sdar")),
        *((family, BLOCKS) for family in ("a2d-qwen3", "a2d-qwen2", "a2d-llama")),
    ],
)
def test_a_trained_model_completes_alike_as_run_as_adapter_in_lm_eval_and_whole(
    published_family, family, changes, tmp_path, completions
):
    model = published_family(family, "blocks" if changes else "Tiny", **changes)
    run = run_of(model, tmp_path, "egspo-sa")
    expected = completions(run)
    assert expected != completions(model), "the run changed nothing, so this test would prove nothing"

    harness("export", run, "--out", tmp_path / "adapter")
    assert completions(model, "--adapter", tmp_path / "adapter") == expected

    harness("export", run, "--merge", "--out", tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").read_bytes() == (model / "config.json").read_bytes()
    merged = completions(tmp_path / "merged")
    shutil.rmtree(tmp_path / "evals")
    assert lm_eval_completions(tmp_path / "merged", tmp_path / "lm-eval") == merged
    assert merged == expected


@pytest.mark.slow
def test_agrpo_trains_a_model_that_attends_by_blocks_and_d1_says_that_it_cannot(published_family, tmp_path, capsys):
    model, recipe = published_family("sdar"), RECIPE.replace("num_selected: 2, slots_per_update: 1", "")
    run_of(model, tmp_path, "agrpo", recipe)
    with pytest.raises(AssertionError, match="2 == 0"):
        run_of(model, tmp_path, "d1", recipe)
    assert "attends by blocks of 8 tokens; the method" in capsys.readouterr().err
