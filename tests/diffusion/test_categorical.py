import math

import pytest
import torch
from scipy.stats import chisquare

from harness.diffusion import categorical


def grid(count):
    """Evenly spread uniforms, the midpoints of `count` equal parts of [0, 1)."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def test_the_inverse_cdf_splits_the_unit_interval_by_probability():
    logits = torch.tensor([[math.log(1), math.log(2), math.log(5)]]).expand(8, -1)
    assert categorical.draw(logits, grid(8), 1.0).tolist() == [0, 1, 1, 2, 2, 2, 2, 2]


def test_temperature_one_half_squares_the_odds():
    logits = torch.tensor([[math.log(1), math.log(3)]]).expand(10, -1)
    assert categorical.draw(logits, grid(10), 0.5).tolist() == [0] + [1] * 9


def test_a_token_of_minus_infinity_is_never_drawn_even_at_the_end_of_the_interval():
    logits = torch.tensor([[0.0, -math.inf, 0.0, -math.inf]]).expand(3, -1)
    drawn = categorical.draw(logits, torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64), 1.0)
    assert drawn.tolist() == [0, 2, 2]


@pytest.mark.slow
def test_every_token_of_a_large_vocabulary_can_be_reached():
    vocabulary = 126_464
    logits = torch.zeros(1, vocabulary).expand(4096, -1)
    picked = torch.linspace(0, vocabulary - 1, 4096).long()
    drawn = categorical.draw(logits, (picked.double() + 0.5) / vocabulary, 1.0)
    assert torch.equal(drawn, picked)


@pytest.mark.parametrize("vocabulary", [5, 512, 1300])
def test_drawn_tokens_follow_the_softmax(vocabulary):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(vocabulary, generator=generator)
    uniforms = torch.rand(40_000, generator=generator, dtype=torch.float64)
    drawn = torch.cat([categorical.draw(logits.expand(len(u), -1), u, 0.7) for u in uniforms.split(4000)])
    expected = (logits.double() / 0.7).softmax(0) * len(uniforms)
    common = expected >= 5
    observed = torch.bincount(drawn, minlength=vocabulary)
    counts = [*observed[common].tolist(), observed[~common].sum().item()]
    expectations = [*expected[common].tolist(), expected[~common].sum().item()]
    if expectations[-1] == 0:
        counts, expectations = counts[:-1], expectations[:-1]
    assert chisquare(counts, expectations).pvalue > 1e-4


@pytest.mark.parametrize("vocabulary", [5, 1024, 1300])
def test_the_most_probable_token_is_the_first_of_the_highest(vocabulary):
    logits = torch.randint(0, 4, (64, vocabulary), generator=torch.Generator().manual_seed(0)).float()
    logits[:8, -1] = 9.0
    logits[8] = -math.inf
    logits[9:16, 1:] = -math.inf
    expected = [row.index(max(row)) for row in logits.tolist()]
    assert categorical.most_probable(logits).tolist() == expected
    assert expected[:10] == [vocabulary - 1] * 8 + [0, 0]


def test_entropy_has_a_gradient():
    logits = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(categorical.entropy, logits)
    assert torch.equal(categorical.entropy(logits.detach()), categorical.entropy(logits).detach())


def test_entropy_of_a_uniform_distribution_is_the_logarithm_of_its_size():
    logits = torch.tensor([[2.0, 2.0, 2.0, -math.inf], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(categorical.entropy(logits), torch.tensor([math.log(3), math.log(4)]))


def test_a_forbidden_token_can_be_put_back():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    kept = categorical.forbid(logits, 1)
    assert kept.tolist() == [2.0, 4.0]
    assert logits[:, 1].tolist() == [-math.inf, -math.inf]


@pytest.mark.slow
def test_a_vocabulary_of_126464_is_sampled_from_its_softmax_in_every_region():
    vocabulary, draws = 126_464, 12_000
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(vocabulary, generator=generator)
    uniforms = torch.rand(draws, generator=generator, dtype=torch.float64)
    drawn = torch.cat([categorical.draw(logits.expand(len(u), -1), u, 0.9) for u in uniforms.split(100)])
    probability = (logits.double() / 0.9).softmax(0)
    # By place in the vocabulary (64 equal regions), and by probability (64 classes of equal mass).
    region = torch.arange(vocabulary) * 64 // vocabulary
    order = probability.argsort()
    mass_class = torch.empty(vocabulary, dtype=torch.long)
    mass_class[order] = (probability[order].cumsum(0) * 64).long().clamp_max(63)
    for label in (region, mass_class):
        expected = torch.zeros(64, dtype=torch.float64).scatter_add_(0, label, probability) * draws
        observed = torch.bincount(label[drawn], minlength=64)
        assert chisquare(observed.tolist(), expected.tolist()).pvalue > 1e-4
