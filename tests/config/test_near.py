"""The nearest configuration key to one that there is not."""

from __future__ import annotations

import pytest

from harness.config.near import check_keys, keys_called, leaf_keys, near_keys, unknown_key
from harness.config.tree import Execution, RunConfig
from harness.errors import UserError

KNOWN = {*leaf_keys(RunConfig), *leaf_keys(Execution, "execution")}


def test_leaves_are_the_keys_that_have_a_value() -> None:
    assert {"seed", "model.lora.rank", "evaluation.decoding.num_steps", "execution.device"} <= KNOWN
    assert not {"model", "model.lora", "evaluation.decoding"} & KNOWN


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.grop_size", ["train.group_size"]),
        ("train.groupSize", ["train.group_size"]),
        ("optimizer.lr", ["optimizer.learning_rate"]),
        ("lr", ["optimizer.learning_rate"]),
        ("learning-rate", ["optimizer.learning_rate"]),
        ("trian.batch_size", ["train.batch_size"]),
        ("train.learning_rate", ["optimizer.learning_rate"]),
        ("lora.rank", ["model.lora.rank"]),
        ("lora_rank", ["model.lora.rank"]),
        ("model.rank", ["model.lora.rank"]),
        ("num_steps", ["evaluation.decoding.num_steps", "rollout.num_steps"]),
        ("batch_size", ["train.batch_size"]),
        ("nothing.like.it", []),
    ],
)
def test_a_key_is_looked_for_in_its_section_by_its_initials_and_in_other_sections(key: str, near: list[str]) -> None:
    assert near_keys(key, KNOWN) == near


def test_the_choices_are_those_of_the_nearest_section_that_there_is() -> None:
    assert str(unknown_key("a.b.x", ["a.b.c", "a.b.d", "a.e"])).endswith("Choices of a.b: c, d.")
    assert str(unknown_key("a.z.x", ["a.b.c", "a.b.d", "a.e"])).endswith("Choices of a: b, e.")
    assert str(unknown_key("z", ["a.b.c", "f"])).endswith("Choices: a, f.")


def test_sections_and_what_stands_below_a_key_are_left_to_the_types() -> None:
    check_keys(["a", "a.b", "a.b.deeper"], {"a.b", "c"})
    with pytest.raises(UserError, match=r"Unknown configuration key 'a\.x'"):
        check_keys(["c", "a.x"], {"a.b", "c"})


def test_a_name_is_a_key_s_whole_last_part() -> None:
    assert keys_called("size", ["train.batch_size", "size"]) == ["size"]
    assert keys_called("size", ["train.batch_size"]) == []
