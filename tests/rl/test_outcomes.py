"""All outcomes of the laws that methods draw from."""

import pytest
import torch

from harness.rl.outcomes import masks_at_two_rates, masks_of_count


def test_all_masks_of_two_among_three_tokens():
    assert [mask.tolist() for mask in masks_of_count(3, 2)] == [
        [True, True, False],
        [True, False, True],
        [False, True, True],
    ]


def test_two_rates_give_three_tokens_the_probabilities_of_all_rates_between():
    masks = list(masks_at_two_rates(3, 0.2, 0.8))
    assert sum(probability for _, _, probability in masks) == pytest.approx(1)
    # The mean of rate^2 (1 - rate) over 0.2..0.8 is ((0.8^3 - 0.2^3) / 3 - (0.8^4 - 0.2^4) / 4) / 0.6 = 0.11.
    two = [probability for _, mask, probability in masks if torch.equal(mask, torch.tensor([True, False, True]))]
    assert sum(two) == pytest.approx(0.11)
