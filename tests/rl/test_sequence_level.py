"""Scores of whole completions and their clipped ratios, by hand."""

import math

import pytest
import torch

from harness.rl.sequence_level import ScoredInputs, clipped_ratio, row_scores


def inputs_of(old, advantage, length):
    rows = len(advantage)
    return ScoredInputs(
        tokens_BDL=torch.zeros(rows, 1, 3, dtype=torch.long),
        mask_BL=None,
        target_BC=torch.zeros(rows, 2, dtype=torch.long),
        weight_BDC=torch.zeros(rows, 1, 2),
        old_score_BS=old,
        advantage_B=torch.tensor(advantage),
        length_B=torch.tensor(length),
        normaliser=rows,
    )


def test_a_score_adds_up_its_own_inputs_alone():
    logprob = torch.tensor([[[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0], [-7.0, -8.0]]])
    weight = torch.tensor([[[1.0, 0.0], [0.0, 0.5], [2.0, 0.0], [0.0, 1.0]]])
    assert row_scores(logprob, weight).tolist() == [[-1.0 - 2.0 - 10.0 - 8.0]]
    assert row_scores(logprob, weight, 2).tolist() == [[-3.0, -18.0]]
    assert row_scores(logprob, weight, 4).tolist() == [[-1.0, -2.0, -10.0, -8.0]]


def test_each_row_s_ratio_is_over_its_own_length_or_of_the_sums():
    part = inputs_of(torch.tensor([[-6.0], [-6.0]]), [1.0, 1.0], [2.0, 4.0])
    new = torch.tensor([[-6.0 + 4 * math.log(1.1)]] * 2)
    per_token = clipped_ratio(new, part, clip_low=0.2, clip_high=0.2)
    assert per_token.ratio.flatten().tolist() == pytest.approx([1.21, 1.1], abs=1e-6)
    assert per_token.objective.flatten().tolist() == pytest.approx([1.2, 1.1], abs=1e-6)
    assert per_token.high.flatten().tolist() == [True, False]
    sums = clipped_ratio(new, part, clip_low=0.2, clip_high=0.2, per_token=False)
    assert sums.ratio.flatten().tolist() == pytest.approx([1.1**4] * 2, abs=1e-5)


def test_without_old_scores_the_ratio_is_1_and_has_a_gradient():
    part = inputs_of(None, [2.0], [4.0])
    new = torch.tensor([[-8.0]], requires_grad=True)
    clipped = clipped_ratio(new, part, clip_low=0.2, clip_high=0.2)
    clipped.objective.sum().backward()
    assert clipped.ratio.tolist() == [[1.0]]
    assert new.grad.tolist() == [[0.5]]
