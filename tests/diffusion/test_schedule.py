import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.diffusion.schedule import reveal_counts, share_evenly
from harness.models.tiny import MASK_ID


def test_ten_tokens_in_four_steps_give_the_first_two_steps_one_more():
    assert share_evenly(10, 4) == [3, 3, 2, 2]


def test_steps_that_do_not_divide_by_the_blocks_go_to_the_first_blocks():
    assert reveal_counts(Decoding(completion_length=8, block_length=4, num_steps=5)) == [[2, 1, 1], [2, 2]]


@pytest.mark.parametrize(("length", "block", "steps"), [(16, 16, 4), (16, 4, 16), (24, 8, 7), (256, 32, 128)])
def test_every_position_is_revealed_once_and_every_step_reveals_something(length, block, steps):
    counts = reveal_counts(Decoding(completion_length=length, block_length=block, num_steps=steps))
    assert [sum(block_counts) for block_counts in counts] == [block] * (length // block)
    assert sum(len(block_counts) for block_counts in counts) == steps
    assert min(min(block_counts) for block_counts in counts) >= 1


@pytest.mark.parametrize(("schedule", "passes"), [("dream", 15), ("dllm", 16)])
def test_steps_beyond_the_tokens_make_no_pass(random_model, schedule, passes):
    decoding = Decoding(
        completion_length=16, block_length=16, num_steps=64, schedule=schedule, eos_policy="run", remasking="entropy"
    )
    decoding.check("rollout")
    assert sum(count > 0 for count in reveal_counts(decoding)[0]) == passes
    rollout = generate(random_model, random_model.encode_prompts(["12+3=", "a"]), decoding, torch.zeros(2).long())
    assert not (rollout.completion_ids_BC == MASK_ID).any()
    assert rollout.forwards_B.tolist() == [passes] * 2


@given(total=st.integers(0, 500), parts=st.integers(1, 60))
def test_shares_add_up_and_differ_by_at_most_one(total, parts):
    shares = share_evenly(total, parts)
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)
