"""Fine-tuning from Python: pairs in a list, several tasks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harness
from harness.errors import UserError
from harness.models import small

PAIRS = [{"prompt": "12+3=", "answer": "15"}, {"question": "7*8=?", "completion": "56"}]


def test_a_list_of_pairs_is_learnt_as_the_same_lines_of_a_file_are(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "12+3=", "answer": "15"}\n{"question": "7*8=?", "completion": "56"}\n')
    seen: list[tuple[int, int]] = []
    done = [
        harness.sft(
            model="tiny",
            pairs=pairs,
            steps=3,
            batch_size=2,
            out=tmp_path / name,
            on_step=lambda step, steps, loss: seen.append((step, steps)),
        )
        for name, pairs in (("list", PAIRS), ("file", file))
    ]
    assert done[0].loss == done[1].loss > 0
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("list", "file")]
    assert written[0] == written[1]
    assert seen == [(1, 3), (2, 3), (3, 3)] * 2


def test_a_base_model_learns_several_tasks(tmp_path: Path) -> None:
    done = harness.sft(task=["gsm8k", "math500"], steps=1, batch_size=2, out=tmp_path / "base")
    assert harness.load_model(done.folder).compact_prompts


def test_a_small_model_learns_several_tasks_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "TEXTS", 20)
    options = {"model": "small", "task": ["gsm8k", "sudoku"], "steps": 3, "batch_size": 2}
    options |= {"overrides": {"execution.checkpoint_every": 1}}

    def stop(step: int, steps: int, loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    harness.sft(**options, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        harness.sft(**options, out=tmp_path / "halves", on_step=stop)
    harness.sft(**options, out=tmp_path / "halves")
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "halves" / name).read_bytes()


def test_the_small_model_has_numbers_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "TEXTS", 20)

    def stop(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harness.sft(model="small", task="countdown", batch_size=2, out=tmp_path / "base", on_step=stop)
    about = json.loads((tmp_path / ".base.sft" / "about.json").read_text())
    told = {name: about[name] for name in ("model", "tasks", "steps", "learning_rate", "completion_length")}
    assert told == {
        "model": "small",
        "tasks": ["countdown"],
        "steps": 18000,
        "learning_rate": 2e-3,
        "completion_length": 64,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Give --task NAME, or --model NAME and --data FILE.jsonl"),
        ({"model": "large", "task": "gsm8k"}, "without --data a model is one of tiny, small"),
        ({"model": "small"}, "Give --task NAME, or --model NAME and --data FILE.jsonl"),
        ({"pairs": []}, "--data goes with --model"),
        ({"model": "tiny", "pairs": []}, "The list of pairs is empty"),
        ({"model": "tiny", "pairs": [{"prompt": "a"}]}, "pair 1: has neither; give one of answer, completion"),
        ({"model": "tiny", "pairs": [PAIRS[0], 3]}, "pair 2: is not an object"),
        ({"model": "tiny", "pairs": PAIRS, "batch_size": 0}, "sft.batch_size=0 must be above 0"),
        ({"task": "sudoku", "steps": 0}, "sft.steps=0 must be above 0"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError) as error:
        harness.sft(out=tmp_path / "out", **options)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()
