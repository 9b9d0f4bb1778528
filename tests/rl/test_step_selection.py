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
