import dataclasses
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.elbo import masks_of_parts, mean_masked_logprob, mean_upper_bound, uniform_counts
from harness.errors import UserError
from harness.registry import get_method

module = sys.modules[get_method("spg").__module__]
HALF, QUARTER = math.log(0.5), math.log(0.25)


def bools(*rows):
    return torch.tensor([[[token == "x" for token in row] for row in rows]])


def test_the_lower_bound_counts_every_input_the_same_however_much_it_masks():
    logprob_BDC = torch.tensor([[[HALF, HALF, HALF], [QUARTER, -9.0, -9.0]]])
    assert mean_masked_logprob(logprob_BDC, bools("xxx", "x..")).item() == pytest.approx((HALF + QUARTER) / 2)
    assert mean_masked_logprob(logprob_BDC, bools("...", "x..")).item() == pytest.approx(QUARTER / 2)


def test_the_upper_bound_is_a_mean_over_tokens_of_the_logarithm_of_a_mean_over_inputs():
    logprob_BDC = torch.tensor([[[HALF, HALF, -9.0], [QUARTER, -9.0, -9.0]]], dtype=torch.float64)
    # Shares are 2/3 and 1/3 of three tokens. The second token is scored by one input of two, the third by none.
    first = math.log((0.5**2 / (2 / 3) + 0.25**2 / (1 / 3)) / 2) / 2
    second = math.log(0.5**2 / (2 / 3) / 2) / 2
    upper_B = mean_upper_bound(logprob_BDC, bools("xx.", "x.."), torch.tensor([3]), 2.0)
    assert upper_B.item() == pytest.approx((first + second) / 2, abs=1e-12)


def test_one_input_of_order_1_has_the_mean_log_probability_less_the_logarithm_of_its_share():
    logprob_BDC = torch.tensor([[[HALF, QUARTER, -9.0, -9.0]]])
    upper_B = mean_upper_bound(logprob_BDC, bools("xx.."), torch.tensor([4]), 1.0)
    assert upper_B.item() == pytest.approx((HALF + QUARTER) / 2 - math.log(0.5), abs=1e-6)


def test_the_upper_bound_survives_probabilities_whose_powers_are_0_in_float32_and_has_a_finite_gradient():
    logprob_BDC = torch.tensor([[[-200.0, HALF, HALF], [-200.0, HALF, HALF]]], requires_grad=True)
    upper_B = mean_upper_bound(logprob_BDC, bools("x..", "xx."), torch.tensor([3]), 1.5)
    upper_B.sum().backward()
    assert upper_B.item() < -90
    assert torch.isfinite(logprob_BDC.grad).all()
    assert (logprob_BDC.grad[0, :, 2] == 0).all()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("mix", [-3.0, -1.25, -1.25]),
        ("elbo", [-3.0, -2.0, -2.0]),
        ("eubo", [-3.0, -1.0, -1.0]),
        ("zero", [-3.0, 0.0, 0.0]),
    ],
)
def test_completions_without_a_positive_advantage_have_another_bound(kind, values):
    config = module.SpgConfig(logp_estimation=kind, mix_weight=0.75)
    lower_B, upper_B = torch.tensor([-3.0, -2.0, -2.0]), torch.tensor([-7.0, -1.0, -1.0])
    assert module.row_value(lower_B, upper_B, torch.tensor([0.5, -0.5, 0.0]), config).tolist() == values


def test_random_parts_have_a_token_at_least_also_where_their_bound_allows_none():
    size_N = torch.tensor([4, 4, 1, 10, 10])
    assert uniform_counts(size_N, 0.0, 1.0, torch.tensor([0.0, 0.99, 0.5, 0.0, 0.55])).tolist() == [1, 4, 1, 1, 6]
    assert uniform_counts(size_N, 0.3, 0.5, torch.full((5,), 0.99)).tolist() == [2, 2, 1, 5, 5]
    assert uniform_counts(size_N, 0.3, 0.5, torch.zeros(5)).tolist() == [1, 1, 1, 3, 3]


def test_a_part_is_chosen_inside_its_block_and_all_after_it_is_masked():
    uniform_NC = torch.tensor([[0.9, 0.1, 0.8, 0.3, 0.2, 0.1]])
    masks = masks_of_parts(torch.tensor([2]), torch.tensor([3]), torch.tensor([1]), uniform_NC)
    assert masks.tolist() == [[False, False, False, False, True, True]]


def drawn(config, lengths, size=12):
    """Masks (B, D, C) of rows with so many tokens of text."""
    seed_B = torch.arange(len(lengths)) + 77
    text_B = torch.tensor(lengths)
    inputs = [module.completion_mask(text_B, size, seed_B, 0, index, config) for index in range(config.num_t)]
    return torch.stack(inputs, 1)


def test_text_after_the_end_is_always_masked_and_a_lone_token_too():
    for kind in ("block_random", "block_all", "random"):
        masks = drawn(module.SpgConfig(forward_type=kind, num_t=2), [1, 5, 12])
        assert masks[0].all()
        assert masks[1, :, 5:].all()
        assert masks.any(2).all()


def test_the_inputs_of_a_row_have_blocks_of_their_own_until_there_are_none_left():
    config = module.SpgConfig(forward_type="block_all", num_t=3, p_mask_prompt=0.0)
    masks = drawn(config, [12] * 20 + [7] * 20)
    starts = (~masks).sum(2)
    assert all(sorted(row) == [0, 4, 8] for row in starts[:20].tolist())
    assert all(sorted(set(row)) == [0, 4] for row in starts[20:].tolist())


def test_every_number_of_tokens_of_a_block_is_drawn():
    config = module.SpgConfig(forward_type="random", num_t=2, p_mask_prompt=0.0)
    counts = drawn(config, [4] * 100, size=4).sum(2)
    assert torch.bincount(counts.flatten(), minlength=5)[1:].min() > 30


def small(**options):
    return module.Spg(config=module.SpgConfig(**{"inner_updates": 1, **options}))


def test_without_random_masking_every_update_and_every_seed_masks_the_same(random_model, scored):
    method = module.Spg(config=module.SpgConfig(inner_updates=2, random_masking=False))
    one, other = (method.draw(scored, random_model, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert torch.equal(one, other)
    assert torch.equal(*one.unbind(1))
    free = module.Spg(config=module.SpgConfig(inner_updates=2))
    assert not torch.equal(*free.draw(scored, random_model, torch.Generator()).unbind(1))


def test_equal_rewards_have_neither_loss_nor_gradient(random_model, scored, score):
    rewards = dataclasses.replace(scored.rewards, total_B=torch.full((12,), 0.1))
    equal = dataclasses.replace(scored, rewards=rewards)
    method = small()
    prepared = method.prepare(equal, random_model, score, method.draw(equal, random_model, torch.Generator()))
    loss, _ = method.loss(random_model, prepared.updates[0].parts[0])
    loss.backward()
    assert loss.item() == 0
    assert all((weight.grad == 0).all() for weight in random_model.predictor.parameters())


def test_micro_batches_can_be_normalised_apart(random_model, scored, score):
    scored.rollout.completion_ids_BC[3, 4] = random_model.special.end_ids[0]
    apart = dataclasses.replace(scored, micro_batch_rows=4)
    method = small(num_t=1)
    draws = method.draw(scored, random_model, torch.Generator())
    (part,) = method.prepare(apart, random_model, score, draws).updates[0].parts
    (whole,) = method.prepare(scored, random_model, score, draws).updates[0].parts
    alone = [dataclasses.replace(piece, normaliser=float(piece.length_B.sum())) for piece in whole.split(4)]
    mean = sum(method.loss(random_model, piece)[0] for piece in alone) / 3
    torch.testing.assert_close(method.loss(random_model, part)[0], mean, atol=1e-6, rtol=1e-5)
    assert abs(method.loss(random_model, whole)[0] - mean) > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_updates": 0}, "method.inner_updates=0 must be above 0"),
        ({"num_t": 0}, "method.num_t=0 must be above 0"),
        ({"eubo_beta": 0.0}, "method.eubo_beta=0.0 must be above 0"),
        ({"block_length": 0}, "method.block_length=0 must be above 0"),
        ({"mix_weight": 1.5}, "method.mix_weight=1.5 must lie between 0 and 1"),
        ({"p_mask_prompt": -0.1}, "method.p_mask_prompt=-0.1 must lie between 0 and 1"),
        ({"min_t": 0.6, "max_t": 0.5}, r"method.min_t=0.6 exceeds method.max_t=0.5; lower it"),
        ({"beta": 0.04}, "method.beta=0.04: SPG has no KL term; set it to 0"),
        ({"logp_estimation": "mixed"}, "Did you mean 'mix'"),
        ({"forward_type": "blocks"}, "Choices: all, block_all, block_random, random"),
        ({"block_length": 5}, "method.block_length=5 does not divide rollout.completion_length=16; choose a divisor"),
        ({"block_length": 8, "num_t": 3}, "method.num_t=3 .*method.block_length=8 has 2 of them; lower it"),
        ({"forward_type": "all"}, "method.num_t=2 .*method.forward_type=all .*has 1 of them; lower it"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(UserError, match=message) as caught:
        small(**options).check(Decoding())
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "options", [{}, {"forward_type": "random", "num_t": 9, "block_length": 5}, {"forward_type": "all", "num_t": 1}]
)
def test_good_options_are_accepted(options):
    small(**options).check(Decoding())
