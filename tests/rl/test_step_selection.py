import dataclasses

import pytest
import torch

from harness.rl import step_selection
from harness.rollout import Prompts, Rollout


def recorded(steps, entropies, num_steps, taken=None):
    step_BC = torch.tensor(steps, dtype=torch.int16)
    return Rollout(
        prompts=Prompts(ids_BP=torch.zeros(len(steps), 1, dtype=torch.long), mask_BP=None),
        completion_ids_BC=torch.zeros(step_BC.shape, dtype=torch.long),
        unmask_step_BC=step_BC,
        logprob_BC=torch.zeros(step_BC.shape),
        entropy_BC=torch.tensor(entropies),
        num_steps_B=torch.tensor(taken or [num_steps] * len(steps), dtype=torch.int16),
        num_steps=num_steps,
        mask_id=1,
    )


def test_step_entropy_is_the_mean_over_what_the_step_revealed():
    rollout = recorded([[0, 1, 0, 1], [1, 2, 2, 2]], [[1.0, 4.0, 3.0, 0.0], [5.0, 1.0, 2.0, 6.0]], 3)
    entropy = step_selection.step_entropy(rollout)
    assert entropy.tolist() == [[2.0, 2.0, -torch.inf], [-torch.inf, 5.0, 3.0]]


def test_filler_belongs_to_no_step():
    rollout = recorded([[0, 1, 2, 2]], [[1.0, 2.0, 9.0, 9.0]], 2)
    assert step_selection.step_entropy(rollout).tolist() == [[1.0, 2.0]]


def test_highest_entropy_comes_in_falling_order_and_is_short_where_steps_are_missing():
    entropy = torch.tensor([[1.0, 3.0, 2.0, 0.0], [5.0, 9.0, 9.5, 9.9]])
    eligible = torch.tensor([[True, True, True, True], [True, False, False, False]])
    assert step_selection.highest_entropy(entropy, eligible, 3).tolist() == [[1, 2, 0], [0, -1, -1]]


def test_uniform_steps_of_128_with_8_chosen():
    steps = step_selection.uniform_with_last(2, 128, 8)
    assert steps[0].tolist() == [0, 21, 42, 63, 84, 105, 126, 127]
    assert torch.equal(steps[0], steps[1])


def test_uniform_until_the_last_real_step_repeats_no_step():
    assert step_selection.uniform_until(torch.tensor([7, 3, 1, 0]), 4).tolist() == [
        [0, 2, 4, 7],
        [0, 1, 2, 3],
        [0, -1, -1, 1],
        [0, -1, -1, -1],
    ]


def test_the_last_real_step_ignores_end_tokens_and_is_the_end_where_there_are_only_those():
    steps = torch.tensor([[0, 3, 1, 2], [0, 1, 2, 3]])
    ends = torch.tensor([[False, True, False, True], [True, True, True, True]])
    assert step_selection.last_real_step(steps, ends, 4).tolist() == [1, 3]


def test_random_steps_are_different_eligible_and_evenly_spread():
    eligible = torch.ones(6000, 5, dtype=torch.bool)
    eligible[:, 4] = False
    chosen = step_selection.random_without_replacement(eligible, 2, torch.Generator().manual_seed(0))
    assert (chosen[:, 0] != chosen[:, 1]).all()
    counts = torch.bincount(chosen.flatten(), minlength=5)
    assert counts[4] == 0
    assert (counts[:4] - 3000).abs().max() < 4 * (6000 * 0.25) ** 0.5


def test_the_official_random_selection_is_shared_and_ends_with_the_last_step():
    chosen = step_selection.random_shared(3, 8, 4, torch.Generator().manual_seed(1))
    assert chosen.shape == (3, 4)
    assert (chosen[:, -1] == 7).all()
    assert (chosen[0] == chosen[2]).all()
    assert chosen[:, :-1].max() < 7


def test_uniform_draws_weigh_1_and_entropy_draws_their_inverse_probability():
    rollout = recorded([[0, 1]], [[3.0, 1.0]], 2)
    uniform, no_end = torch.tensor([[0.1, 0.6, 0.9]], dtype=torch.float64), torch.tensor([[False, False]])
    plain = step_selection.draw_steps(rollout, no_end, uniform, "uniform")
    assert plain.step_BM.tolist() == [[0, 1, 1]]
    assert plain.importance_BM.tolist() == [[1.0, 1.0, 1.0]]
    weighed = step_selection.draw_steps(rollout, no_end, uniform, "entropy")
    assert weighed.step_BM.tolist() == [[0, 0, 1]]
    assert weighed.importance_BM.tolist() == [pytest.approx([2 / 3, 2 / 3, 2.0])]


def test_the_sampled_entropy_is_used_where_it_is_recorded():
    rollout = recorded([[0, 1]], [[1.0, 1.0]], 2)
    rollout = dataclasses.replace(rollout, behaviour_entropy_BC=torch.tensor([[1.0, 4.0]]))
    probability = step_selection.draw_probabilities(rollout, torch.tensor([[False, False]]))
    assert probability.tolist() == [pytest.approx([0.2, 0.8])]


@pytest.mark.parametrize("importance", step_selection.IMPORTANCES)
def test_steps_after_the_last_real_token_and_after_an_early_stop_are_not_drawn(importance):
    rollout = recorded([[0, 1, 2, 3], [0, 0, 4, 4]], [[1.0] * 4] * 2, 4, taken=[4, 1])
    is_end = torch.tensor([[False, False, True, True], [True, True, True, True]])
    assert step_selection.last_taken_step(rollout, is_end).tolist() == [1, 0]
    uniform = torch.full((2, 1), 0.999, dtype=torch.float64)
    assert step_selection.draw_steps(rollout, is_end, uniform, importance).step_BM.tolist() == [[1], [0]]
