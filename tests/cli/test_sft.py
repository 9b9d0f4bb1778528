"""harness sft from the command line: from a file, what is written, what is refused before anything is."""

import json

import pytest
import torch
from safetensors.torch import load_file

from harness.cli.main import main
from harness.models.tiny import tiny_weights
from harness.records.run_folder import EVAL_FILE

LINES = ({"prompt": "12+3=", "answer": "15"}, {"question": "7*8=?", "completion": "56"}, {"prompt": "a", "answer": "b"})


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def sft(*arguments):
    return main(["sft", *[str(argument) for argument in arguments]])


@pytest.mark.parametrize("options", [[], ["--set", "model.lora.rank=4", "--set", "model.lora.dropout=0.5"]])
def test_a_model_learns_from_a_file_and_is_evaluated_from_its_folder(tmp_path, pairs, capsys, options):
    out, again = tmp_path / "out", tmp_path / "again"
    settings = ["--steps", 3, "--batch-size", 2, "--learning-rate", 1e-2, *options]
    assert sft("--model", "tiny", "--data", pairs, "--out", out, *settings) == 0
    shipped = tiny_weights("sudoku")
    assert (out / "config.json").read_bytes() == (shipped / "config.json").read_bytes()
    before, after = load_file(shipped / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not before[name].equal(after[name])
    assert before["lm_head.weight"].equal(after["lm_head.weight"]) == bool(options)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        assert sft("--model", "tiny", "--data", pairs, "--out", again, *settings) == 0
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    evaluate = ["eval", "--model", str(out), "--task", "sudoku", "--data", "builtin", "--items", "4"]
    decoding = ["--set", "completion_length=16", "--set", "block_length=16", "--set", "num_steps=8"]
    assert main([*evaluate, *decoding, "--out", str(tmp_path / "evals")]) == 0
    assert len(list((tmp_path / "evals").rglob(EVAL_FILE))) == 1
    assert "exact_match" in capsys.readouterr().out


def test_without_steps_a_file_is_passed_over_twenty_times(tmp_path, pairs, monkeypatch):
    from harness.finetuning import train as module

    seen = []

    def remember(tuner, batches, on_step):
        seen.append(tuner.config)
        return 0.0

    monkeypatch.setattr(module.FineTuner, "run", remember)
    assert sft("--model", "tiny", "--data", pairs, "--out", tmp_path / "out") == 0
    # 3 lines 20 times in batches of 8: 7.5 steps.
    assert (seen[0].steps, seen[0].batch_size, seen[0].learning_rate) == (8, 8, 1e-5)


def test_a_tiny_model_is_still_trained_from_nothing(tmp_path, capsys):
    assert sft("--task", "sudoku", "--steps", 2, "--batch-size", 4, "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert "mean loss of the last 100 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give --task NAME, or --model NAME and --data FILE.jsonl"),
        (["--model", "tiny"], "Give --task NAME, or --model NAME and --data FILE.jsonl"),
        (["--data", "PAIRS"], "--data goes with --model"),
        (["--task", "sudoku", "--set", "model.dtype=bfloat16"], "--set model.* goes with these two"),
        (["--task", "sudoko"], "Did you mean 'sudoku'"),
        (["--model", "tiny", "--data", "missing.jsonl"], "Cannot read 'missing.jsonl'"),
        (["--model", "no/such", "--data", "PAIRS"], "no/such"),
        (["--model", "tiny", "--task", "chess", "--data", "PAIRS"], "Unknown task of the tiny model 'chess'"),
        (["--model", "tiny", "--data", "PAIRS", "--max-length", "5"], "pairs.jsonl', line 1: the prompt of 5 tokens"),
        (["--model", "tiny", "--data", "PAIRS", "--set", "train.batch_size=4"], "--set train.batch_size is not for"),
        (["--model", "tiny", "--data", "PAIRS", "--set", "model.name=x"], "--set model.name is not for"),
        (["--model", "tiny", "--data", "PAIRS", "--set", "model.lora.rang=4"], "Did you mean 'model.lora.rank'"),
        (["--model", "tiny", "--data", "PAIRS", "--set", "model.quantization=nf4"], "leave it out"),
        (["--task", "sudoku", "--set", "execution.micro_batch_size=-1"], "micro_batch_size=-1 is negative"),
        (["--task", "sudoku", "--set", "execution.microbatch_size=4"], "Did you mean 'execution.micro_batch_size'"),
        (["--task", "sudoku", "--set", "execution.keep=all"], "Choices: execution.checkpoint_every"),
        (["--model", "tiny", "--data", "PAIRS", "--out", "TAKEN"], "is not an empty folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(tmp_path, pairs, capsys, arguments, words):
    places = {"PAIRS": str(pairs), "TAKEN": str(tmp_path)}
    given = [places.get(argument, argument) for argument in arguments]
    out = [] if "--out" in given else ["--out", tmp_path / "out"]
    assert sft(*given, *out) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_run_is_refused(tmp_path, pairs, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("config: {}")
    assert sft("--model", tmp_path / "run", "--data", pairs, "--out", tmp_path / "out") == 2
    assert "harness export first" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_found_before_training(tmp_path, pairs, capsys, monkeypatch):
    from harness.finetuning import train as module

    def refuse(self, *arguments, **options):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(module.FineTuner, "run", lambda *arguments, **options: pytest.fail("trained"))
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert sft("--model", "tiny", "--data", pairs, "--out", tmp_path / "out") == 2
    assert "Read-only file system" in capsys.readouterr().err
