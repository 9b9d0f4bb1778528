import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.rl.step_selection import (
    entropy_probabilities,
    independent_uniforms,
    steps_by_probability,
    stratified_uniforms,
    uniform_steps,
)
from harness.rollout import Prompts, Rollout


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(rows=st.integers(1, 12), draws=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_stratum_holds_one_low_discrepancy_draw(rows, draws, seed):
    uniform = stratified_uniforms(rows, draws, generator(seed))
    assert uniform.shape == (rows, draws)
    strata = (uniform * rows * draws).floor().long().flatten()
    assert strata.sort().values.tolist() == list(range(rows * draws))


def test_independent_draws_do_not_fill_the_strata():
    uniform = independent_uniforms(4, 25, generator())
    assert len((uniform * 100).floor().unique()) < 80
    assert uniform.min() >= 0
    assert uniform.max() < 1


def test_steps_end_with_the_last_of_the_row():
    uniform = torch.tensor([[0.0, 0.49, 0.5, 0.999], [0.0, 0.33, 0.34, 0.999]], dtype=torch.float64)
    assert uniform_steps(uniform, torch.tensor([1, 2])).tolist() == [[0, 0, 1, 1], [0, 0, 1, 2]]


def test_a_uniform_that_was_rounded_up_to_1_stays_within_the_row():
    assert uniform_steps(torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([2])).tolist() == [[2]]


def test_probabilities_are_shares_of_the_summed_entropy():
    entropy = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    steps = torch.tensor([[1, 0, 1, 2]])
    whole = entropy_probabilities(entropy, steps, torch.tensor([2]), 3)
    assert whole.tolist() == [pytest.approx([0.2, 0.4, 0.4])]
    short = entropy_probabilities(entropy, steps, torch.tensor([1]), 3)
    assert short.tolist() == [pytest.approx([1 / 3, 2 / 3, 0.0])]
    assert float(short[0, 2]) == 0.0


def test_steps_without_entropy_are_equally_likely_and_filler_counts_nothing():
    entropy = torch.tensor([[0.0, 0.0, 5.0]], dtype=torch.float64)
    steps = torch.tensor([[0, 1, 2]])
    assert entropy_probabilities(entropy, steps, torch.tensor([1]), 2).tolist() == [pytest.approx([0.5, 0.5])]


def test_inverse_cdf_skips_impossible_steps():
    probability = torch.tensor([[0.25, 0.0, 0.75, 0.0]], dtype=torch.float64)
    uniform = torch.tensor([[0.1, 0.25, 0.26, 0.9999999]], dtype=torch.float64)
    assert steps_by_probability(uniform, probability).tolist() == [[0, 0, 2, 2]]


def test_rounding_never_leads_past_the_last_possible_step():
    probability = torch.tensor([[1 / 3, 1 / 3, 1 / 3 - 1e-9, 0.0]], dtype=torch.float64)
    uniform = torch.tensor([[1 - 1e-12]], dtype=torch.float64)
    assert steps_by_probability(uniform, probability).tolist() == [[2]]


def test_frequencies_are_the_probabilities():
    probability = torch.tensor([[0.1, 0.6, 0.3]], dtype=torch.float64)
    steps = steps_by_probability(stratified_uniforms(1, 1000, generator()), probability)
    assert torch.bincount(steps[0]).tolist() == [100, 600, 300]


def test_what_a_step_reveals_comes_in_rising_order_with_its_tokens():
    rollout = Rollout(
        prompts=Prompts(ids_BP=torch.zeros(2, 1, dtype=torch.long), mask_BP=None),
        completion_ids_BC=torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23]]),
        unmask_step_BC=torch.tensor([[1, 0, 0, 1], [0, 1, 2, 2]], dtype=torch.int16),
        logprob_BC=torch.zeros(2, 4),
        entropy_BC=torch.zeros(2, 4),
        num_steps_B=torch.tensor([2, 3], dtype=torch.int16),
        num_steps=3,
        mask_id=99,
    )
    revealed = rollout.revealed_positions(torch.tensor([0, 1]))
    assert revealed.is_revealed_Bn.tolist() == [[True, True], [True, False]]
    assert revealed.position_Bn[0].tolist() == [1, 2]
    assert revealed.target_Bn[0].tolist() == [11, 12]
    assert revealed.position_Bn[1, 0] == 1
    assert revealed.target_Bn[1, 0] == 21
    nothing = rollout.revealed_positions(torch.tensor([2, -1]))
    assert not nothing.is_revealed_Bn.any()
