import math

import pytest
import torch

from harness.diffusion.logprob import (
    POSITIONS_AT_ONCE,
    behaviour_logprob,
    chosen_logprob,
    without_gradient,
)

LOGITS = torch.tensor([[[0.0, math.log(2), math.log(3)]]], dtype=torch.float64)
SECOND = torch.tensor([[1]])


def value(logprob):
    return float(logprob.exp())


def test_the_log_probability_of_two_sixths_is_that_of_a_third():
    assert value(chosen_logprob(LOGITS, SECOND)) == pytest.approx(2 / 6)


def test_temperature_one_half_squares_the_odds():
    logprob = behaviour_logprob(LOGITS, SECOND, temperature=0.5, support_Bnk=None)
    assert value(logprob) == pytest.approx(4 / (1 + 4 + 9))


def test_a_support_renormalises_over_its_own_tokens():
    support = torch.tensor([[[1, 0]]], dtype=torch.int32)
    assert value(behaviour_logprob(LOGITS, SECOND, temperature=1.0, support_Bnk=support)) == pytest.approx(2 / 3)
    assert value(behaviour_logprob(LOGITS, SECOND, temperature=0.5, support_Bnk=support)) == pytest.approx(4 / 5)


def test_padding_of_a_support_counts_nothing():
    support = torch.tensor([[[2, 1, -1, -1]]], dtype=torch.int32)
    assert value(behaviour_logprob(LOGITS, SECOND, temperature=1.0, support_Bnk=support)) == pytest.approx(2 / 5)


def test_a_support_of_one_token_is_certain():
    support = torch.tensor([[[1]]], dtype=torch.int32)
    assert value(behaviour_logprob(LOGITS, SECOND, temperature=0.6, support_Bnk=support)) == 1.0


def test_an_empty_support_keeps_value_and_gradient_finite():
    logits = LOGITS.clone().requires_grad_()
    logprob = behaviour_logprob(logits, SECOND, temperature=0.6, support_Bnk=torch.full((1, 1, 4), -1))
    torch.where(torch.tensor([[False]]), logprob, 0.0).sum().backward()
    assert logprob.isfinite().all()
    assert (logits.grad == 0).all()


def test_the_whole_vocabulary_as_support_changes_nothing():
    support = torch.tensor([[[0, 1, 2]]])
    kept = behaviour_logprob(LOGITS, SECOND, temperature=0.7, support_Bnk=support)
    free = behaviour_logprob(LOGITS, SECOND, temperature=0.7, support_Bnk=None)
    torch.testing.assert_close(kept, free)


def test_rows_go_through_in_pieces_and_come_back_in_order(random_model):
    seen = []

    def double(rows, nothing):
        assert nothing is None
        seen.append(len(rows))
        return 2 * rows

    rows = torch.arange(5.0, requires_grad=True)
    doubled = without_gradient(random_model, double, rows, None, positions=POSITIONS_AT_ONCE // 2)
    assert doubled.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert not doubled.requires_grad
    assert seen == [2, 2, 1]


def test_a_row_longer_than_a_piece_goes_through_alone(random_model):
    seen = []
    count = lambda rows: seen.append(len(rows)) or rows  # noqa: E731
    without_gradient(random_model, count, torch.zeros(2), positions=3 * POSITIONS_AT_ONCE)
    assert seen == [1, 1]
