"""The register of published checkpoints: what it holds, how one is named, what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from harness import registry
from harness.config.published.checkpoints import find_checkpoint, published_checkpoints
from harness.config.published.protocols import protocol_names
from harness.config.recipes import built_in_folder
from harness.errors import UserError

FIELDS = (built_in_folder() / "checkpoints.csv").read_text().splitlines()[0]
ROW = "a/sudoku,a,sudoku,b/base,c/adapter,,,lora,llada,,,,,,"


def names(method):
    return [one.name for one in published_checkpoints() if one.method == method]


def test_an_adapter_in_a_subfolder_is_its_base_with_the_adapter():
    found = find_checkpoint("egspo-sa/math500")
    assert (found.model, found.adapter, found.subfolder, found.kind, found.layout) == (
        "GSAI-ML/LLaDA-8B-Instruct",
        "fatemehdoudi97/egspo-llada-8b",
        "math/egspo-sa",
        "lora",
        "llada",
    )
    assert (found.score, found.metric, found.length, found.protocol) == (39.6, "accuracy", "best", "egspo")
    assert found.place == "fatemehdoudi97/egspo-llada-8b/math/egspo-sa"


def test_a_full_model_is_itself():
    found = find_checkpoint("justgrpo/gsm8k")
    assert (found.model, found.adapter) == ("nzl-thu/LLaDA-Instruct-JustGRPO-GSM8K", "")
    assert found.place == found.hub


def test_a_known_revision_is_asked_for_and_the_base_is_the_newest():
    adapter = replace(find_checkpoint("egspo-sa/math500"), revision="0123abc")
    assert (adapter.model, adapter.adapter) == (
        "GSAI-ML/LLaDA-8B-Instruct",
        "fatemehdoudi97/egspo-llada-8b@0123abc",
    )
    assert adapter.place == "fatemehdoudi97/egspo-llada-8b@0123abc/math/egspo-sa"
    whole = replace(find_checkpoint("justgrpo/gsm8k"), revision="v1")
    assert whole.model == whole.place == "nzl-thu/LLaDA-Instruct-JustGRPO-GSM8K@v1"


def test_a_method_and_a_task_name_a_checkpoint_and_so_does_a_model_of_no_single_task():
    assert find_checkpoint("espo", "countdown").name == "espo/countdown"
    assert find_checkpoint("espo/countdown", "sudoku").name == "espo/countdown"
    assert find_checkpoint("llada-1.5", "gsm8k").name == "llada-1.5"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        UserError, match=r"Unknown checkpoint '.*'\. Did you mean 'egspo-sa/sudoku'.*harness list check"
    ):
        find_checkpoint("egspo-sa/sudok")


def test_a_method_without_a_checkpoint_for_the_task_is_refused_with_those_that_it_has():
    have = "name one of: gdsd-dream/sudoku, gdsd-dream/countdown"
    with pytest.raises(UserError, match=f"^'gdsd-dream' has no published checkpoint for gsm8k; {have}.$"):
        find_checkpoint("gdsd-dream", "gsm8k")
    with pytest.raises(
        UserError, match=f"^'gdsd-dream' has a published checkpoint for each of several tasks; {have}.$"
    ):
        find_checkpoint("gdsd-dream")


def test_the_register_holds_the_published_models_of_every_method():
    assert len(published_checkpoints()) == 35
    tasks = ["gsm8k", "math500", "sudoku", "countdown", "mbpp", "humaneval"]
    assert names("egspo-sa") == [f"egspo-sa/{task}" for task in tasks]
    assert sorted(names("espo")) == sorted(f"espo/{task}" for task in tasks)
    assert len({one.hub for one in published_checkpoints() if one.method == "espo"}) == 5
    assert len({one.hub for one in published_checkpoints() if one.method == "justgrpo"}) == 3
    assert len({one.hub for one in published_checkpoints() if one.method == "gdsd"}) == 5


def test_every_row_has_a_task_a_protocol_and_a_place_of_the_right_kind():
    for one in published_checkpoints():
        assert one.task in ("", *registry.names("task"))
        assert one.protocol in ("", *protocol_names())
        assert one.hub.count("/") == 1
        assert one.name.endswith(one.task)
        assert one.base or one.kind == "full"
        assert (one.score is None) == (one.metric == "") == (one.source == "")
        assert one.score is None or 0 < one.score <= 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{FIELDS}\n{ROW}\n{ROW}\n", "has 'a/sudoku' twice"),
        (f"{FIELDS}\n{ROW.replace('lora', 'lore')}\n", "line 2: kind 'lore'. Did you mean 'lora'"),
        (f"{FIELDS}\n{ROW},more\n", "line 2 is not a checkpoint"),
        (f"{FIELDS}\n{ROW.replace('llada,,', 'llada,high,')}\n", "line 2 is not a checkpoint: could not convert"),
        ("name\na\n", "line 2 is not a checkpoint: 'score'"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path, text, said):
    (tmp_path / "checkpoints.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        published_checkpoints(tmp_path / "checkpoints.csv")


def test_the_file_is_plain_csv():
    with open(built_in_folder() / "checkpoints.csv", newline="", encoding="utf-8") as stream:
        assert {len(row) for row in csv.reader(stream)} == {15}
