import pytest
import torch

from harness.errors import UserError
from harness.rl.advantages import (
    centre_at_same_step,
    centre_in_group,
    group_std,
    leave_one_out_mean,
    stepwise_returns,
    zero_variance_groups,
)


def test_stepwise_returns_by_hand():
    final, greedy = torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    assert stepwise_returns(final, greedy, 0.5, normalize=False).tolist() == [[1.5, 1.0], [-0.25, 0.0]]
    normalised = stepwise_returns(final, greedy, 0.5, normalize=True)
    torch.testing.assert_close(normalised, torch.tensor([[1.0, 2 / 3], [-1 / 6, 0.0]]))


def test_lambda_zero_is_the_plain_reward_at_every_step():
    final = torch.tensor([1.0, 0.25])
    returns = stepwise_returns(final, torch.tensor([[9.0, 9.0], [9.0, 9.0]]), 0.0, normalize=True)
    assert returns.tolist() == [[1.0, 1.0], [0.25, 0.25]]


def test_centring_stays_inside_the_group_and_the_rank():
    value = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 0.0], [7.0, 0.0]])
    assert centre_in_group(value, 2).tolist() == [[-1.0, -10.0], [1.0, 10.0], [-1.0, 0.0], [1.0, 0.0]]


def test_missing_steps_do_not_count_in_the_mean_and_have_no_advantage():
    value = torch.tensor([[4.0, 100.0], [2.0, 6.0], [3.0, 8.0]])
    valid = torch.tensor([[True, False], [True, True], [True, True]])
    assert centre_in_group(value, 3, valid).tolist() == [[1.0, 0.0], [-1.0, -1.0], [0.0, 1.0]]
    assert centre_in_group(value, 3, torch.zeros(3, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 3


def test_equal_rewards_have_an_advantage_of_exactly_zero_and_nearly_equal_ones_have_not():
    equal = torch.full((6, 1), 0.1, dtype=torch.float64)
    assert (equal.sum() / 6 != equal[0]).item()
    assert centre_in_group(equal, 6).tolist() == [[0.0]] * 6
    equal[2] += 1e-12
    assert (centre_in_group(equal, 6) != 0).all()


def test_leave_one_out_is_the_mean_of_the_others():
    assert leave_one_out_mean(torch.tensor([3.0, 0.0, 6.0, 1.0, 1.0, 4.0]), 3).tolist() == [
        3.0,
        4.5,
        1.5,
        2.5,
        2.5,
        1.0,
    ]


def test_equal_rewards_are_exactly_the_mean_of_the_others():
    equal = torch.full((3,), 0.1, dtype=torch.float64)
    assert ((equal.sum() - equal[0]) / 2 != equal[0]).item()
    assert torch.equal(leave_one_out_mean(equal, 3), equal)
    assert centre_at_same_step(equal[:, None].expand(-1, 3), 3).tolist() == [[0.0]] * 3
    assert leave_one_out_mean(torch.tensor([1.0, 1.0, 2.0]), 3).tolist() == [1.5, 1.5, 1.0]


def test_a_group_of_one_has_no_standard_deviation():
    assert group_std(torch.tensor([1.0, 3.0]), 2).tolist() == pytest.approx([2**0.5] * 2)
    with pytest.raises(UserError, match=r"train\.group_size=1: .* set 2 or more"):
        group_std(torch.tensor([1.0, 3.0]), 1)


def test_a_group_with_equal_rewards_has_zero_variance_and_a_nearly_equal_one_has_not():
    rewards = torch.tensor([0.5, 0.5, 0.5, 0.5001, 1.0, 0.0])
    assert zero_variance_groups(rewards, 2).item() == pytest.approx(1 / 3)
