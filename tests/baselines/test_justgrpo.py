import dataclasses
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.states import state_tokens
from harness.rollout import ScoredRollouts

module = sys.modules[get_method("justgrpo").__module__]
ORDERED = Decoding(completion_length=12, block_length=1, num_steps=12, temperature=1.0, eos_policy="run")


def prepared(scored, model, score, **options):
    method = module.JustGrpo(config=module.JustGrpoConfig(**options))
    return method, method.prepare(scored, model, score, None)


def test_the_advantage_is_divided_by_the_deviation_and_exactly_0_without_one():
    found = module.advantages(torch.tensor([1.0, 0.0, 0.5, 0.1, 0.1, 0.1], dtype=torch.float64), 3)
    assert found[:3].tolist() == pytest.approx([0.5 / 0.5001, -0.5 / 0.5001, 0.0])
    assert found[3:].tolist() == [0, 0, 0]


def test_rows_are_divided_by_the_number_of_valid_ones_of_all_and_where_passes_accumulate_of_each(scored):
    is_valid = torch.tensor([True] * 6 + [False] * 2 + [True] * 1 + [False] * 3)
    assert module.row_scales(is_valid, scored).tolist() == pytest.approx([1 / (7 + 1e-5)] * 12)
    passes = dataclasses.replace(scored, micro_batch_rows=3, accumulated_batches=2)
    # Micro-batches have 3, 3, 1 and 0 valid rows; the first and the third are pass 0, the others pass 1.
    valid = torch.tensor([3, 3, 1, 0])
    rows = torch.cat([torch.arange(3) < number for number in valid])
    first, second = 1 / (2 * (2 + 1e-5)), 1 / (2 * (1.5 + 1e-5))
    expected = [first] * 3 + [second] * 3 + [first] * 3 + [second] * 3
    assert module.row_scales(rows, passes).tolist() == pytest.approx(expected)


def test_a_token_sees_all_before_it_and_none_after(random_model, scored, score):
    _, found = prepared(scored, random_model, score)
    (part,) = found.updates[0].parts
    tokens, mask_id = state_tokens(part)[:, -12:], scored.rollout.mask_id
    before = torch.arange(12) < part.position_Nn
    completion = scored.rollout.completion_ids_BC[part.row_N]
    assert torch.equal(tokens, torch.where(before, completion, mask_id))
    assert part.num_rows == 12 * int((found.advantages != 0).sum())


def test_positions_after_the_first_end_token_count_by_default_and_need_not(random_model, scored, score):
    end = random_model.special.end_ids[0]
    scored.rollout.completion_ids_BC[0] = end
    _, everywhere = prepared(scored, random_model, score)
    _, short = prepared(scored, random_model, score, positions="until_end")
    assert (everywhere.updates[0].parts[0].row_N == 0).sum() == 12
    assert (short.updates[0].parts[0].row_N == 0).sum() == 1


def test_rewards_that_are_all_equal_leave_a_loss_and_a_gradient_of_0(random_model, scored, score):
    alike = dataclasses.replace(scored.rewards, total_B=torch.full_like(scored.rewards.total_B, 0.3))
    method, found = prepared(dataclasses.replace(scored, rewards=alike), random_model, score)
    loss, _ = method.loss(random_model, found.updates[0].parts[0])
    loss.backward()
    assert loss.item() == 0
    assert all(not weight.grad.any() for weight in random_model.predictor.parameters())


def test_detached_old_log_probabilities_make_every_ratio_1_and_the_others_move_with_the_policy(
    random_model, scored, score
):
    for old, expected in (("detached", 1.0), ("recomputed", math.exp(0.2))):
        method, found = prepared(scored, random_model, score, old=old)
        (part,) = found.updates[0].parts
        moved = dataclasses.replace(part, old_logprob_Nn=part.old_logprob_Nn - 0.2)
        ratio = method.loss(random_model, moved.rows(slice(0, 20)))[1]["ratio"]
        torch.testing.assert_close(ratio, torch.full_like(ratio, expected), atol=1e-3, rtol=0)


def test_the_record_of_a_rollout_from_left_to_right_is_what_passes_of_their_own_give(random_model, scored, score):
    rollout = generate(random_model, scored.rollout.prompts, ORDERED, torch.arange(12))
    ordered = ScoredRollouts(rollout=rollout, rewards=scored.rewards, group_size=4)
    _, recorded = prepared(ordered, random_model, score, old="recorded")
    _, recomputed = prepared(ordered, random_model, score, old="recomputed")
    first, second = (found.updates[0].parts[0].old_logprob_Nn for found in (recorded, recomputed))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "some"}, "method.positions"),
        ({"old": "new"}, "method.old"),
        ({"inner_updates": 0}, "method.inner_updates=0"),
        ({"gain": 0.0}, "method.gain=0.0"),
        ({"temperature": 0.0}, "method.temperature=0.0"),
        ({"inner_updates": 4}, "method.inner_updates=4 needs old log-probabilities.*recorded or recomputed"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        module.JustGrpo(config=module.JustGrpoConfig(**options)).check(ORDERED)
    module.JustGrpo(config=module.JustGrpoConfig(old="recorded", inner_updates=4)).check(ORDERED)


@pytest.mark.parametrize(
    ("decoding", "options", "message"),
    [
        ({"block_length": 4}, {}, "set rollout.block_length=1, or"),
        ({"block_length": 4, "num_steps": 6}, {}, "rollout.block_length=1 and rollout.num_steps=12"),
        ({"cache": "prefix"}, {}, "rollout.num_steps=12 without cache"),
        ({"eos_policy": "stop"}, {}, "rollout.eos_policy=run or method.positions=until_end"),
        ({"guidance_scale": 1.0}, {}, "rollout.guidance_scale=0"),
        ({}, {"temperature": 0.7}, "method.temperature=1"),
    ],
)
def test_a_record_of_other_states_is_refused(decoding, options, message):
    method = module.JustGrpo(config=module.JustGrpoConfig(old="recorded", **options))
    with pytest.raises(UserError, match=message):
        method.check(dataclasses.replace(ORDERED, **decoding))
    method = module.JustGrpo(config=module.JustGrpoConfig(old="recorded", positions="until_end"))
    method.check(dataclasses.replace(ORDERED, block_length=4, remasking="sequential", eos_policy="stop"))
