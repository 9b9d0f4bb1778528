import dataclasses
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.states import Sequences, make_states, shares

module = sys.modules[get_method("tracerl").__module__]


def prepared(scored, model, score, seed=0, **options):
    method = module.TraceRl(config=module.TraceRlConfig(**options))
    draws = method.draw(scored, model, torch.Generator().manual_seed(seed))
    return method, method.prepare(scored, model, score, draws)


def test_distinct_steps_are_merged_in_runs_whatever_their_distance():
    steps = torch.tensor([[0, 7, 3, 3, 5], [2, 2, 2, 2, 2]], dtype=torch.int16)
    assert module.runs(steps, 1, 8).tolist() == [[0, 3, 1, 1, 2], [0] * 5]
    assert module.runs(steps, 3, 8).tolist() == [[0, 1, 0, 0, 0], [0] * 5]
    assert module.runs(steps, 9, 8).tolist() == [[0] * 5, [0] * 5]


def test_a_state_hides_its_run_and_all_later_ones_and_asks_for_its_run():
    is_masked, is_target = module.trajectory_states(torch.tensor([[1, 0, 2]], dtype=torch.int16), 1, 3)
    assert is_masked.tolist() == [[[True, True, True], [True, False, True], [False, False, True]]]
    assert is_target.tolist() == [[[False, True, False], [True, False, False], [False, False, True]]]


def test_end_tokens_beyond_the_first_few_are_not_asked_for():
    is_end = torch.tensor([[False, True, False, True, True]])
    assert module.askable(is_end, 0).tolist() == [[True, False, True, False, False]]
    assert module.askable(is_end, 1).tolist() == [[True, True, True, False, False]]
    assert module.askable(is_end, -1).tolist() == [[True] * 5]


def test_advantages_are_divided_by_the_deviation_of_the_group_and_exactly_0_without_one():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1], dtype=torch.float64)
    found = module.z_scores(rewards, 4)
    assert found[:4].tolist() == pytest.approx([math.sqrt(3), *[-1 / math.sqrt(3)] * 3])
    assert found[4:].tolist() == [0] * 4


def test_groups_nearly_all_right_or_wrong_are_left_out():
    rewards = torch.tensor([1.0] * 4 + [1.0, 0.0, 1.0, 1.0] + [0.0] * 4)
    assert module.kept(rewards, 4, 0.25).tolist() == [False] * 4 + [True] * 4 + [False] * 4
    assert module.kept(rewards, 4, 0.26).tolist() == [False] * 12
    assert module.kept(rewards, 4, 0.0).all()


def test_a_completion_near_the_longest_earns_nothing():
    rewards, lengths = torch.ones(3), torch.tensor([10, 11, 16])
    assert module.earned(rewards, lengths, 16, 5).tolist() == [1, 0, 0]
    assert module.earned(rewards, lengths, 16, 0).tolist() == [1, 1, 1]


def part_of(new, old, counted, advantage):
    sequences = Sequences(tokens_BL=torch.zeros(2, 4, dtype=torch.long), mask_BL=None, mask_id=9)
    is_target = torch.tensor(counted)
    part = make_states(sequences, torch.tensor([0, 1]), is_target, is_target, torch.tensor(advantage), normaliser=2.0)
    return dataclasses.replace(
        part, old_logprob_Nn=torch.tensor(old), weight_N=1 / part.counted_Nn.sum(1)
    ), torch.tensor(new)


@pytest.mark.parametrize(
    ("kl", "of_first", "of_second"),
    [("k3", 1 / 1.5 - 1 + math.log(1.5), 0.5 - 1 + math.log(2)), ("k1", math.log(1.5), math.log(2))],
)
def test_the_gain_is_a_mean_over_a_state_s_tokens_and_the_kl_a_sum(kl, of_first, of_second):
    part, new = part_of(
        [[math.log(1.5), math.log(2.0)], [0.0, 5.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[True, True], [True, False]],
        [1.0, -1.0],
    )
    loss, values = module.trace_loss(new, part, module.TraceRlConfig(clip=0.2, beta=0.1, kl=kl))
    # Both ratios of the first state are clipped to 1.2; the second state has one token, at ratio 1.
    assert float(loss) == pytest.approx((-1.2 + 0.1 * (of_first + of_second) + 1.0) / 2)
    assert values["kl"].tolist() == pytest.approx([of_first, of_second, 0.0])
    assert values["clip_high"].tolist() == [True, True, False]


def test_states_are_shared_among_the_updates_in_order_over_all_processes():
    # Rows 2 and 3 of four, with 3 and 1 states after 2 in the rows of another process; 6 in all.
    update_N, sizes = shares(torch.tensor([0, 0, 0, 1]), torch.tensor([2, 5]), 6, 2)
    assert (update_N.tolist(), sizes) == ([0, 1, 1, 1], [3, 3])
    assert shares(torch.tensor([0]), torch.tensor([0]), 1, 3)[1] == [1, 0, 0]
    assert shares(torch.zeros(0, dtype=torch.long), torch.tensor([0]), 0, 2)[1] == [0, 0]


def test_each_token_that_may_be_asked_for_is_so_once_and_updates_share_them(random_model, scored, score):
    _, found = prepared(scored, random_model, score, shrink=2, updates=3)
    seen = torch.zeros(scored.rollout.completion_ids_BC.shape, dtype=torch.long)
    for update in found.updates:
        (part,) = update.parts
        assert part.num_rows == part.normaliser
        place, token = part.counted_Nn.nonzero(as_tuple=True)
        seen.index_put_((part.row_N[place], part.position_Nn[place, token]), torch.tensor(1), accumulate=True)
    is_end = random_model.is_end(scored.rollout.completion_ids_BC)
    assert torch.equal(seen, (~is_end).long())


def test_with_a_state_for_every_step_the_old_log_probabilities_are_those_of_the_rollout(random_model, scored, score):
    _, found = prepared(scored, random_model, score, shrink=1, post_num=-1)
    (part,) = found.updates[0].parts
    recorded = scored.rollout.logprob_BC[part.row_N].gather(1, part.position_Nn)
    torch.testing.assert_close(part.old_logprob_Nn[part.counted_Nn], recorded[part.counted_Nn], atol=1e-4, rtol=0)


@pytest.mark.parametrize("changes", [{"keep_share": 0.49}, {"length_margin": 11}])
def test_rollouts_that_leave_no_state_or_no_reward_have_no_gradient(random_model, scored, score, changes):
    scored.rewards.total_B.fill_(1.0)
    method, found = prepared(scored, random_model, score, shrink=2, updates=2, **changes)
    for update in found.updates:
        loss, _ = method.loss(random_model, update.parts[0])
        loss.backward()
        assert loss.item() == 0
    assert all(not weight.grad.any() for weight in random_model.predictor.parameters())


def test_a_row_that_ends_at_once_has_no_state(random_model, scored, score):
    scored.rollout.completion_ids_BC[2] = random_model.special.end_ids[0]
    _, found = prepared(scored, random_model, score, shrink=2)
    assert 2 not in found.updates[0].parts[0].row_N.tolist()


def test_pairs_mask_each_token_that_may_be_asked_for_in_one_of_two(random_model, scored, score):
    end = random_model.special.end_ids[0]
    scored.rollout.completion_ids_BC[:, -2:] = end
    _, found = prepared(scored, random_model, score, states="coupled", draws=2, min_rate=0.4, max_rate=0.6)
    (part,) = found.updates[0].parts
    asked = torch.zeros(scored.rollout.completion_ids_BC.shape, dtype=torch.long)
    place, token = part.counted_Nn.nonzero(as_tuple=True)
    asked.index_put_((part.row_N[place], part.position_Nn[place, token]), torch.tensor(1), accumulate=True)
    assert torch.equal(asked, 2 * (scored.rollout.completion_ids_BC != end).long())
    assert part.is_masked_NC[:, -2:].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"states": "all"}, "method.states"),
        ({"kl": "k2"}, "method.kl"),
        ({"shrink": 0}, "method.shrink=0"),
        ({"draws": 0}, "method.draws=0"),
        ({"updates": 0}, "method.updates=0"),
        ({"min_rate": 0.95}, "method.min_rate=0.95, method.max_rate=0.9 must rise"),
        ({"post_num": -2}, "method.post_num=-2"),
        ({"keep_share": 0.5}, "method.keep_share=0.5"),
        ({"length_margin": 16}, "method.length_margin=16.*rollout.completion_length=16"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        module.TraceRl(config=module.TraceRlConfig(**options)).check(Decoding())
    module.TraceRl().check(Decoding())


def test_the_kl_term_is_to_the_old_policy_and_needs_no_reference():
    assert not module.TraceRl(config=module.TraceRlConfig(beta=1.0)).needs_reference
