import itertools
from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.diffusion import elbo


def test_counts_of_four_rows_step_by_a_quarter_of_the_grid():
    assert elbo.evenly_spaced_counts(4, 7, 0).tolist() == [0, 2, 4, 6]
    assert elbo.evenly_spaced_counts(4, 7, 5).tolist() == [5, 7, 1, 3]


def has_halves(rows, length):
    """Whether some place on the grid lies halfway between two counts."""
    return any(2 * row * (length + 1) % (2 * rows) == rows for row in range(rows))


@given(rows=st.integers(1, 40), length=st.integers(1, 40))
def test_every_row_meets_every_count_equally_often_over_all_starts(rows, length):
    assume(not has_halves(rows, length))
    counts = torch.stack([elbo.evenly_spaced_counts(rows, length, start) for start in range(length + 1)], 1)
    for row in counts.tolist():
        assert sorted(row) == list(range(length + 1))


def test_halves_go_to_the_even_count_as_in_the_official_code():
    assert [elbo.evenly_spaced_counts(2, 2, start).tolist() for start in range(3)] == [[0, 2], [1, 2], [2, 1]]


@given(rows=st.integers(1, 30), length=st.integers(1, 30))
def test_likelihood_counts_are_never_0(rows, length):
    for start in range(1, length + 1):
        counts = elbo.likelihood_counts(rows, length, start)
        assert counts[0] == start
        assert counts.min() >= 1
        assert counts.max() <= length


def test_the_smallest_uniforms_are_masked():
    uniform = torch.tensor([[0.3, 0.1, 0.9, 0.2], [0.3, 0.1, 0.9, 0.2], [0.3, 0.1, 0.9, 0.2]])
    masks = elbo.masks_of_counts(torch.tensor([2, 0, 4]), uniform)
    assert masks.tolist() == [[False, True, False, True], [False] * 4, [True] * 4]


def test_all_masks_of_a_count_are_equally_likely():
    orders = torch.tensor(list(itertools.permutations([0.1, 0.4, 0.6, 0.8])))
    masks = elbo.masks_of_counts(torch.full((24,), 2), orders)
    counted = Counter(map(tuple, masks.tolist()))
    assert set(counted.values()) == {4}
    assert len(counted) == 6


def test_a_mask_of_two_in_four_weighs_five_halves():
    weights = elbo.elbo_weights(torch.tensor([[True, False, True, False], [False] * 4, [True] * 4]))
    assert weights.tolist() == [[2.5, 0.0, 2.5, 0.0], [0.0] * 4, [1.25] * 4]


def test_the_complement_follows_each_mask():
    masks = torch.tensor([[[True, False, False], [True, True, True]]])
    assert elbo.coupled_inputs(masks).tolist() == [
        [[True, False, False], [False, True, True], [True, True, True], [False, False, False]]
    ]


@pytest.mark.parametrize("coupled", [False, True])
def test_the_weights_are_exact_where_log_probabilities_do_not_depend_on_the_mask(coupled):
    logprob_C = torch.tensor([-0.5, -1.0, -2.0], dtype=torch.float64)
    masks = torch.tensor(list(itertools.product([False, True], repeat=3)))
    probability = torch.tensor([1 / 4 / {0: 1, 1: 3, 2: 3, 3: 1}[int(mask.sum())] for mask in masks]).double()
    inputs = elbo.coupled_inputs(masks[:, None]) if coupled else masks[:, None]
    weight = elbo.elbo_weights(inputs) / inputs.shape[1]
    terms = (logprob_C * weight).sum((1, 2))
    assert float(terms @ probability) == pytest.approx(-3.5)
