import math

import pytest
import torch

from harness.rl.policy_loss import clipped_objective, exact_kl, k3


def objective(ratio, advantage, low=0.2, high=0.5):
    new = torch.tensor([math.log(ratio)], dtype=torch.float64)
    return clipped_objective(
        new, torch.zeros(1).double(), torch.tensor([advantage]).double(), clip_low=low, clip_high=high
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "low", "high"),
    [
        (1.0, 2.0, 2.0, False, False),
        (1.5, 2.0, 3.0, False, False),
        (2.0, 2.0, 3.0, False, True),
        (0.5, 2.0, 1.0, False, False),
        (0.5, -2.0, -1.6, True, False),
        (2.0, -2.0, -4.0, False, False),
        (0.8, -1.0, -0.8, False, False),
    ],
)
def test_clipping_by_hand(ratio, advantage, value, low, high):
    clipped = objective(ratio, advantage)
    assert clipped.objective.item() == pytest.approx(value)
    assert (clipped.low.item(), clipped.high.item()) == (low, high)


def test_no_gradient_flows_where_the_clip_is_active():
    new = torch.tensor([math.log(2.0), 0.0], requires_grad=True)
    clipped_objective(new, torch.zeros(2), torch.ones(2), clip_low=0.2, clip_high=0.5).objective.sum().backward()
    assert new.grad.tolist() == [0.0, 1.0]


def test_k3_is_zero_at_equality_positive_elsewhere_and_by_hand():
    new, reference = torch.tensor([0.0, 0.0, -1.0]), torch.tensor([0.0, math.log(2), -1.5])
    expected = torch.tensor([0.0, 1 - math.log(2), math.exp(-0.5) + 0.5 - 1])
    torch.testing.assert_close(k3(new, reference), expected)


def test_exact_kl_of_two_coins():
    new, reference = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert exact_kl(new, reference).item() == pytest.approx(expected)
    assert exact_kl(new + 5, new).item() == pytest.approx(0.0, abs=1e-7)


def test_the_expectation_of_k3_under_the_new_policy_is_the_exact_kl():
    new, reference = torch.tensor([0.2, 0.3, 0.5]).log(), torch.tensor([0.6, 0.3, 0.1]).log()
    assert (new.exp() * k3(new, reference)).sum().item() == pytest.approx(exact_kl(new, reference).item(), rel=1e-5)
