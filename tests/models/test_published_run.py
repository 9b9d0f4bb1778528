"""A published checkpoint all the way: train adapters, evaluate, export, and evaluate again from the export."""

import gzip
import json

import pytest
from safetensors.torch import load_file

from harness.cli.main import main
from harness.models import checkpoints

RECIPE = """
model: {lora: {rank: 4, alpha: 32.0, targets: all}}
rollout: {completion_length: 16, block_length: 8, num_steps: 8, temperature: 1.0}
train: {batch_size: 4, group_size: 2, max_prompt_length: 32}
optimizer: {learning_rate: 1.0e-2, weight_decay: 0.0, max_gradient_norm: 10.0}
method: {num_selected: 2, slots_per_update: 1}
budget: {updates: 2}
evaluation: {items: 2, decoding: {completion_length: 16, block_length: 8, num_steps: 8}}
"""
DECODING = ("--set", "completion_length=16", "--set", "block_length=8", "--set", "num_steps=8")


def harness(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture
def evaluate(tmp_path):
    """Completions of a model named on the command line."""

    def completions(name, *options):
        out = tmp_path / "evals" / str(len(list(tmp_path.glob("evals/*"))))
        arguments = ("--task", "sudoku", "--data", "builtin", "--items", 2, *DECODING, "--out", out)
        harness("eval", "--model", name, *options, *arguments)
        (samples,) = out.rglob("samples-*.jsonl.gz")
        with gzip.open(samples, "rt") as stream:
            return [json.loads(line)["text"] for line in stream]

    return completions


def train(model, tmp_path, *options):
    """Two updates; the reward is random, so that an untrained model's rewards differ."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    names = ("--method", "egspo-sa", "--task", "sudoku", "--model", model, "--recipe", recipe, "--reward", "random")
    harness("run", *names, "--data", "builtin", "--runs", tmp_path / "runs", *options)
    (run,) = (tmp_path / "runs" / "sudoku" / "egspo-sa" / model.name).iterdir()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("published", ["published_llada", "published_dream"])
def test_a_run_s_exported_adapter_gives_the_run_s_completions(request, tmp_path, published, evaluate):
    model = request.getfixturevalue(published)
    run = train(model, tmp_path)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    expected = evaluate(run)
    assert expected != evaluate(model), "the run changed nothing, so this test would prove nothing"

    adapter = tmp_path / "adapter"
    harness("export", run, "--out", adapter)
    assert evaluate(model, "--adapter", adapter) == expected
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(model)

    merged = tmp_path / "merged"
    harness("export", run, "--merge", "--max-shard-size", "60KB", "--out", merged)
    assert len(list(merged.glob("model-*.safetensors"))) > 1
    assert (merged / "config.json").read_bytes() == (model / "config.json").read_bytes()
    assert len(evaluate(merged)) == 2


def test_a_bfloat16_run_on_a_merged_adapter_exports_as_a_whole_model(
    published_llada, tmp_path, write_adapter, official_subset, capsys
):
    adapter = write_adapter(official_subset)
    options = ("--set", f"model.adapter={adapter}", "--set", "model.dtype=bfloat16")
    run = train(published_llada, tmp_path, *options)
    capsys.readouterr()
    assert main(["export", str(run), "--out", str(tmp_path / "alone")]) == 2
    assert "its own adapter fits no published model. Export the whole model with --merge" in capsys.readouterr().err
    harness("export", run, "--merge", "--out", tmp_path / "merged")
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert {str(weight.dtype) for weight in weights.values()} == {"torch.bfloat16"}


def test_a_run_of_all_weights_exports_what_it_trained(published_dream, tmp_path, evaluate):
    run = train(published_dream, tmp_path, "--set", "model.lora.rank=0", "--set", "optimizer.learning_rate=0.003")
    expected = evaluate(run)
    assert expected != evaluate(published_dream)
    harness("export", run, "--out", tmp_path / "trained")
    assert evaluate(tmp_path / "trained") == expected


@pytest.mark.parametrize(("which", "ends"), [("turn-and-text", 2), ("text", 1)])
def test_a_run_s_completions_end_as_its_conventions_say(published_llada, tmp_path, monkeypatch, which, ends):
    loaded, load_model = [], checkpoints.load_model

    def remembered(*arguments, **options):
        loaded.append(load_model(*arguments, **options))
        return loaded[-1]

    monkeypatch.setattr(checkpoints, "load_model", remembered)
    train(published_llada, tmp_path, "--set", f"conventions.end_tokens={which}")
    assert [len(model.special.end_ids) for model in loaded] == [ends]


def test_warnings_are_shown_and_recorded(published_llada, copy_of, tmp_path, capsys):
    model = copy_of(published_llada, "LLaDA-Tiny-Base")
    run = train(model, tmp_path)
    said = capsys.readouterr().err
    assert said.count("harness: warning: Model '") == 1
    assert "is a base model by its name" in said
    (warning,) = json.loads((run / "environment.json").read_text())["warnings"]
    assert "is a base model by its name" in warning
    harness("export", run, "--out", tmp_path / "adapter")
    assert "is a base model by its name" in capsys.readouterr().err


def test_a_damaged_model_is_one_sentence_and_makes_no_run_folder(published_llada, copy_of, tmp_path, capsys):
    model = copy_of(published_llada)
    shard = model / "model-00001-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:200])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    names = ["--method", "egspo-sa", "--task", "sudoku", "--model", str(model), "--recipe", str(recipe)]
    assert main(["run", *names, "--data", "builtin", "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is not a readable safetensors file" in said
    assert not (tmp_path / "runs").exists()


def test_four_bits_without_anything_to_train_are_refused(published_llada, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    names = ["--method", "egspo-sa", "--task", "sudoku", "--model", str(published_llada), "--recipe", str(recipe)]
    settings = ["--set", "model.quantization=nf4", "--set", "model.lora.rank=0"]
    assert main(["run", *names, *settings, "--data", "builtin", "--runs", str(tmp_path / "runs")]) == 2
    assert "model.quantization=nf4 freezes all weights; set model.lora.rank above 0" in capsys.readouterr().err
