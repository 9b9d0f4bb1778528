import dataclasses

import torch

from harness.distributed.shard import Shard
from harness.rl.states import (
    as_many_everywhere,
    make_states,
    positions_of,
    sequences_of,
    state_logprob,
    state_tokens,
    with_old_logprob,
)
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

MASK = 99


def rollout():
    """Two rows, the first with a pad before its prompt."""
    completion = torch.tensor([[11, 12, 13], [21, 22, 23]])
    prompts = Prompts(ids_BP=torch.tensor([[0, 1], [2, 3]]), mask_BP=torch.tensor([[False, True], [True, True]]))
    return Rollout(
        prompts=prompts,
        completion_ids_BC=completion,
        unmask_step_BC=torch.zeros(2, 3, dtype=torch.int16),
        logprob_BC=torch.zeros(2, 3),
        entropy_BC=torch.zeros(2, 3),
        num_steps_B=torch.ones(2, dtype=torch.int16),
        num_steps=1,
        mask_id=MASK,
    )


def states(made, rows=(1, 0, 1)):
    is_masked = torch.tensor([[True, True, False], [False, False, True], [True, True, True]])
    is_target = torch.tensor([[True, False, False], [False, False, True], [True, True, False]])
    advantage = torch.tensor([0.5, -0.5], dtype=torch.float64)
    return make_states(sequences_of(made), torch.tensor(rows), is_masked, is_target, advantage, normaliser=3.0)


def scored_in(shard):
    made = rollout()
    rewards = Rewards(total_B=torch.zeros(2), parts={})
    return ScoredRollouts(rollout=made, rewards=rewards, group_size=2, shard=shard)


def test_positions_come_in_rising_order_and_what_fills_up_is_not_counted():
    position, counted = positions_of(torch.tensor([[False, True, True], [True, False, False], [False, False, False]]))
    assert position.tolist()[0] == [1, 2]
    assert counted.tolist() == [[True, True], [True, False], [False, False]]
    assert positions_of(torch.zeros(0, 3, dtype=torch.bool))[0].shape == (0, 1)


def test_a_state_is_its_row_with_its_own_tokens_masked():
    part = states(rollout())
    assert state_tokens(part).tolist() == [[2, 3, MASK, MASK, 23], [0, 1, 11, 12, MASK], [2, 3, MASK, MASK, MASK]]
    assert part.advantage_N.tolist() == [-0.5, 0.5, -0.5]
    assert [len(piece.row_N) for piece in part.split(2)] == [2, 1]
    assert state_tokens(list(part.split(2))[1]).tolist() == [[2, 3, MASK, MASK, MASK]]


def test_masked_prompt_tokens_are_masked_in_all_states_of_the_row():
    made = rollout()
    hidden = sequences_of(made, torch.tensor([[False, True], [False, False]]))
    part = dataclasses.replace(states(made), sequences=hidden)
    assert state_tokens(part)[:, :2].tolist() == [[2, 3], [0, MASK], [2, 3]]


def test_a_process_with_fewer_states_gets_empty_ones_which_count_nothing():
    part = states(rollout())
    assert as_many_everywhere(part, scored_in(Shard())).num_rows == 3
    other = Shard(all_gather=lambda rows: torch.cat([rows, torch.tensor([5])]), count=2)
    filled = as_many_everywhere(part, scored_in(other))
    assert filled.num_rows == 5
    assert not filled.counted_Nn[3:].any()
    assert filled.weight_N.tolist() == [1, 1, 1, 0, 0]
    none = part.rows(slice(0, 0))
    assert as_many_everywhere(none, scored_in(Shard())).num_rows == 1


def test_logits_are_divided_by_the_temperature_and_the_old_values_are_those_of_the_same_states(random_model):
    mask_id = random_model.special.mask_id
    made = dataclasses.replace(rollout(), mask_id=mask_id)
    everything = torch.ones(2, 3, dtype=torch.bool)
    row = torch.tensor([1, 0])
    advantage = torch.zeros(2, dtype=torch.float64)
    hot = make_states(sequences_of(made), row, everything, everything, advantage, normaliser=1.0, temperature=2.0)
    tokens, mask = made.prompts.with_completion(torch.full_like(made.completion_ids_BC, mask_id))
    logits = random_model.completion_logits(tokens[row], mask[row], 3) / 2
    expected = logits.log_softmax(-1).gather(2, made.completion_ids_BC[row][:, :, None])[:, :, 0].detach()
    torch.testing.assert_close(state_logprob(random_model, hot), expected, atol=1e-4, rtol=0)
    old = with_old_logprob(random_model, hot)
    torch.testing.assert_close(old.old_logprob_Nn, expected, atol=1e-4, rtol=0)
    assert old.old_logprob_Nn.requires_grad is False
    assert old.advantage_N.dtype == old.old_logprob_Nn.dtype
