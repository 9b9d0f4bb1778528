"""The model card of an export: all of it for a run of tests/old_runs, and what differs for others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.records.jsonl import write_atomic
from harness.records.run_folder import ENVIRONMENT_FILE
from harness.report.formats.card import ADAPTER, ALL, MERGED, Weights, model_card, paper_of
from harness.report.read.runs import Run, load_run

CHECKOUT = Path(__file__).resolve().parents[3]
OLD_RUNS = CHECKOUT / "tests" / "old_runs" / "sudoku" / "egspo-sa" / "tiny"
TINY = Weights(base="tiny", hub_base="", adapter="", form=ALL, task="sudoku", is_tiny=True, update=48)
LLADA = Weights(
    base="GSAI-ML/LLaDA-8B-Instruct@main",
    hub_base="GSAI-ML/LLaDA-8B-Instruct",
    adapter="",
    form=ADAPTER,
    task="gsm8k",
    is_tiny=False,
    update=24,
)
CARD = """\
---
# No license is stated: the base model's applies to what is made from it. Add `license: ...` here.
tags:
- diffusion-rl-harness
- diffusion-language-model
- reinforcement-learning
- egspo-sa
- sudoku
metrics:
- exact_match
---

# EGSPO-SA on Sudoku, seed 0

`tiny` after 48 updates of EGSPO-SA on Sudoku, all weights, written by diffusion-rl-harness 0.1.0.

The base is the tiny model of the harness, a toy for demonstrations and tests: it knows one kind of built-in problem, \
and nothing here can be compared with published numbers.

| What | Value |
| --- | --- |
| Method | EGSPO-SA (egspo-sa) |
| Task | Sudoku (sudoku), reward: task |
| Base model | tiny, weights 78413624dff52738 |
| Trained | all weights |
| Seed | 0 |
| Recipe | tiny |
| Training | update 48, 1,536 samples, 209 GFLOP |
| Budget | samples 1,536 |
| Training data | builtin data, 4,096 items |
| Training prompts | unverified |
| Run | sudoku/egspo-sa/tiny/24670e30-seed0 |

## Score

Builtin data, test split (items 9bc69984):

| Metric | Score, % [95 % interval] | Base model, % | Items |
| --- | ---: | ---: | ---: |
| Exact match | 80.9 [75.6, 85.2] | 15.6 | 256 |
| Cell accuracy | 92.1 [89.9, 94.3] | 53.3 | 256 |
| Official cell accuracy | 92.1 [89.9, 94.3] | 53.3 | 256 |
| Validity | 80.9 [75.6, 85.2] | 15.6 | 256 |

Decoding: block_length 16, completion_length 16, eos_policy stop, guidance_scale 0.0, num_steps 8, ranking untempered, \
remasking low_confidence, schedule even, temperature 0.0, top_k 0, top_p 1.0, top_p_keeps_crossing True. 8 forward \
passes per completion.

The interval is over items. This is one seed: another one of the same method may differ by more than the interval.

## How to make it again

```sh
harness run --method egspo-sa --task sudoku --model tiny --recipe tiny --seed 0 --data builtin --train-data builtin
```

It was trained with diffusion-rl-harness 0.1.0 at commit 488821eeb6752caa35904d562cfc7bfc3d804b7b, Python 3.11.7, \
torch 2.13.0+cpu, transformers 5.23.0, peft 0.21.2, device cpu.

## How to use it

```sh
harness eval --task sudoku --model FOLDER
```

FOLDER is where these files lie. Their names and layout are those of the base model's own checkpoint.

## Citation

- EGSPO-SA: [arXiv 2603.12554](https://arxiv.org/abs/2603.12554)
- diffusion-rl-harness: `CITATION.cff` in its repository
"""


def front(card: str) -> dict[str, object]:
    """The YAML before the card."""
    _, block, _ = card.split("---\n", 2)
    fields: dict[str, object] = yaml.safe_load(block)
    return fields


@pytest.fixture(scope="module")
def reference() -> Run:
    return load_run(OLD_RUNS / "24670e30-seed0", "-")


def test_the_card_of_a_run_is_what_its_record_says(reference: Run) -> None:
    assert model_card(TINY, reference) == CARD


def test_another_checkpoint_of_the_run_has_its_own_score_and_one_without_evaluation_says_so(reference: Run) -> None:
    earlier = model_card(replace(TINY, update=40), reference)
    assert "| Exact match | 85.2 [80.3, 89.0] | 15.6 | 256 |" in earlier
    assert "| Training | update 40, 1,280 samples," in earlier
    unknown = model_card(replace(TINY, update=41), reference)
    assert "These weights were not evaluated" in unknown
    assert "| Training | update 41 |" in unknown
    assert "80.9" not in unknown
    assert "metrics" not in front(unknown)


def test_a_control_is_called_one() -> None:
    card = model_card(TINY, load_run(OLD_RUNS / "33fd2729-seed0", "-"))
    assert "# EGSPO-SA on Sudoku, seed 0, random-reward control\n" in card
    assert "**This is a control**: its rewards were random numbers" in card
    assert "--reward random" in card


def test_a_published_base_its_data_and_its_adapter_are_named_for_the_hub(synthetic) -> None:
    settings = {**synthetic.settings, "model": {"name": LLADA.base, "lora": {"rank": 128}}}
    records = [synthetic.evaluation("last", 24, synthetic.metrics(128), data="hub", protocol="d1")]
    folder = synthetic.run(
        settings=settings, records=records, model=LLADA.base, task="gsm8k", train_data="hub", test_data="hub"
    )
    origin = {"dataset": "openai/gsm8k", "revision": "740312ad"}
    environment = {"data": {"train": {"items": 7473, "origin": origin}, "test": {"items": 256, "origin": origin}}}
    write_atomic(folder / ENVIRONMENT_FILE, json.dumps(environment))
    card = model_card(LLADA, load_run(folder, "-"))
    fields = front(card)
    assert fields["base_model"] == "GSAI-ML/LLaDA-8B-Instruct"
    assert (fields["base_model_relation"], fields["library_name"]) == ("adapter", "peft")
    assert fields["datasets"] == ["openai/gsm8k"]
    assert fields["metrics"] == ["exact_match"]
    assert "license" not in fields
    assert "| Trained | adapters of rank 128 |" in card
    assert "| Training data | hub data, 7,473 items, revision 740312ad |" in card
    assert "harness eval --task gsm8k --model GSAI-ML/LLaDA-8B-Instruct@main --adapter FOLDER\n" in card
    assert "as [its page](https://huggingface.co/GSAI-ML/LLaDA-8B-Instruct) asks" in card
    assert "toy" not in card
    assert front(model_card(replace(LLADA, form=MERGED), load_run(folder, "-")))["base_model_relation"] == "merge"


def test_a_method_that_is_not_installed_is_named_and_its_folder_asked_for(synthetic) -> None:
    folder = synthetic.run(method="mine")
    card = model_card(replace(TINY, update=24), load_run(folder, "-"))
    assert "- mine: its file names no paper\n" in card
    assert "`--include-path FOLDER`" in card


def test_a_run_that_is_not_finished_and_odd_records_stand_in_the_card_as_they_are(synthetic) -> None:
    folder = synthetic.run(state="interrupted", updates=4, records=synthetic.learning(40, 160)[:2])
    write_atomic(folder / ENVIRONMENT_FILE, json.dumps({"data": [], "git": "x", "packages": {"torch": None}}))
    card = model_card(replace(TINY, update=4), load_run(folder, "-"))
    assert "of a run that is interrupted |" in card
    assert "It was trained with" not in card


def test_a_model_without_a_run_says_that_nothing_is_known() -> None:
    card = model_card(replace(LLADA, adapter="me/lora", form=MERGED, update=0), None)
    assert card.splitlines()[9:13] == [
        "# GSAI-ML/LLaDA-8B-Instruct@main",
        "",
        "`GSAI-ML/LLaDA-8B-Instruct@main` with the adapter `me/lora`, all weights, adapter merged, written by "
        "diffusion-rl-harness 0.1.0.",
        "",
    ]
    assert "how they were trained and what they score is unknown here" in card
    assert "## Score" not in card


@pytest.mark.parametrize(
    ("method", "paper"), [("d1", "2504.12216"), ("bgpo", "2510.11683"), ("gdpo", "2510.08554"), ("mine", "")]
)
def test_the_paper_of_a_method_is_the_one_that_its_file_names(method: str, paper: str) -> None:
    assert paper_of(method) == paper
