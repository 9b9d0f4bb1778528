import dataclasses
import itertools
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.sequence_level import ScoredInputs, row_scores
from harness.rollout import Rewards

module = sys.modules[get_method("gdsd").__module__]
WIDE = {"epsilon": 0.9, "beta": 0.0}


def gdsd(**options):
    return module.Gdsd(config=module.GdsdConfig(**options))


def prepared(method, scored, model, score):
    return method.prepare(scored, model, score, method.draw(scored, model, torch.Generator().manual_seed(0)))


def part_of(old, advantage):
    return ScoredInputs(
        tokens_BDL=torch.zeros(len(advantage), 4, 5, dtype=torch.long),
        mask_BL=None,
        target_BC=torch.zeros(len(advantage), 4, dtype=torch.long),
        weight_BDC=torch.zeros(len(advantage), 4, 4),
        old_score_BS=old,
        advantage_B=torch.tensor(advantage),
        length_B=torch.full((len(advantage),), 4.0),
        normaliser=len(advantage),
        scores=2,
    )


def loss_of(new, part, kl=None, **options):
    kl = torch.zeros_like(new) if kl is None else kl
    return module.distillation_loss(new, kl, part, module.GdsdConfig(**options))


def test_errors_are_added_up_over_draws_and_the_kl_is_averaged():
    part = part_of(torch.tensor([[-8.0, -6.0], [-4.0, -4.0]]), [1.0, -0.5])
    new = torch.tensor([[-7.6, -6.2], [-4.0, -3.8]])
    errors = [(0.1 - 2) ** 2, (-0.05 - 2) ** 2, (0 + 1) ** 2, (0.05 + 1) ** 2]
    assert float(loss_of(new, part, psi=2.0, **WIDE)) == pytest.approx(sum(errors) / 2)
    kl = torch.tensor([[0.8, 0.4], [0.0, 1.6]])
    found = loss_of(new, part, kl, psi=2.0, epsilon=0.9, beta=0.1)
    assert float(found) == pytest.approx((sum(errors) + 0.1 * 2.8 / 2 / 4) / 2)


def test_a_score_that_has_moved_by_more_than_the_clamp_has_no_gradient():
    part = part_of(torch.full((1, 2), -8.0), [1.0])
    new = torch.tensor([[-8.0 + 3e-4, -8.0 + 5e-4]], requires_grad=True)
    loss_of(new, part, beta=0.0).backward()
    assert new.grad[0, 0] == pytest.approx(2 * (3e-4 / 4 - 1) / 4, rel=1e-3)
    assert new.grad[0, 1] == 0
    new.grad = None
    loss_of(new, part, beta=0.0, clamp_per_token=True).backward()
    assert (new.grad < 0).all()


def test_the_clamp_is_of_the_logarithm_of_the_ratio():
    part = part_of(torch.full((1, 2), -8.0), [0.0])
    new = torch.tensor([[-12.0, -4.0]])
    expected = (math.log(0.5) / 4) ** 2 + (math.log(1.5) / 4) ** 2
    assert float(loss_of(new, part, epsilon=0.5, beta=0.0)) == pytest.approx(expected)
    expected = math.log(0.5) ** 2 + math.log(1.5) ** 2
    assert float(loss_of(new, part, epsilon=0.5, beta=0.0, clamp_per_token=True)) == pytest.approx(expected)


def test_an_only_update_is_reinforce_and_has_no_old_scores(random_model, scored, score):
    method = gdsd(inner_updates=1, mc_samples=2, psi=3.0, beta=0.0)
    with random_model.meter.measure() as preparing:
        (update,) = prepared(method, scored, random_model, score).updates
    (part,) = update.parts
    assert preparing.forwards == 0
    assert part.old_score_BS is None
    new = torch.full((12, 2), -20.0, requires_grad=True)
    loss = module.distillation_loss(new, torch.zeros_like(new), part, method.config)
    loss.backward()
    torch.testing.assert_close(loss.detach(), 9 * 2 * part.advantage_B.square().mean())
    torch.testing.assert_close(new.grad, (-2 * 3 * part.advantage_B / 12 / 12)[:, None].expand(-1, 2))


@pytest.mark.parametrize("tlc", [False, True])
def test_a_draw_is_the_half_of_its_mask_and_of_the_complement(random_model, scored, score, tlc):
    method = gdsd(inner_updates=2, mc_samples=2, tlc=tlc)
    (part,) = prepared(method, scored, random_model, score).updates[0].parts
    is_masked_BDC = part.tokens_BDL[:, :, -12:] == random_model.special.mask_id
    assert torch.equal(is_masked_BDC[:, 0::2], ~is_masked_BDC[:, 1::2])
    assert torch.equal(part.weight_BDC > 0, is_masked_BDC)
    count_BD1 = is_masked_BDC.sum(2, keepdim=True)
    expected_BDC = is_masked_BDC * (13 / count_BD1.clamp_min(1) if tlc else 1.0) / 2
    torch.testing.assert_close(part.weight_BDC, expected_BDC)
    assert part.old_score_BS.shape == (12, 2)


def test_the_score_of_tlc_is_the_elbo_on_average_over_counts_and_masks():
    masks = torch.tensor(list(itertools.product((False, True), repeat=3)))
    logprob_ND3 = -torch.rand(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # The ELBO: counts 1..C alike, of each the mean over its masks of C / count times the masked log-probabilities.
    exact = sum(
        (logprob_ND3 * masks)[masks.sum(1) == count].sum() / math.comb(3, count) * 3 / count / 3 for count in (1, 2, 3)
    )
    both = elbo.coupled_inputs(masks[:, None])
    complement = [masks.tolist().index(row) for row in (~masks).tolist()]
    logprob_NDC = torch.stack([logprob_ND3, logprob_ND3[complement]], 1)
    scores = row_scores(logprob_NDC, elbo.elbo_weights(both) / 2)[:, 0]
    share = torch.tensor([1 / 4 / math.comb(3, int(mask.sum())) for mask in masks], dtype=torch.float64)
    assert float((share * scores).sum()) == pytest.approx(float(exact), abs=1e-12)


def test_equal_rewards_leave_an_advantage_of_exactly_0_scaled_or_not():
    rewards = torch.tensor([0.1, 0.1, 0.1, 1.0, 0.0, 0.5], dtype=torch.float64)
    plain = module.advantages(rewards, 3, module.GdsdConfig())
    assert plain[:3].tolist() == [0.0] * 3
    assert plain[3:].tolist() == pytest.approx([0.75, -0.75, 0.0])
    scaled = module.advantages(rewards, 3, module.GdsdConfig(scale_rewards=True))
    assert scaled[:3].tolist() == [0.0] * 3
    assert scaled[3:].tolist() == pytest.approx([0.75 / 0.5001, -0.75 / 0.5001, 0.0])


def test_without_any_variance_the_gradient_of_an_only_update_is_0(random_model, scored, score):
    same = dataclasses.replace(scored, rewards=Rewards(total_B=torch.full((12,), 0.3), parts={}))
    method = gdsd(inner_updates=1, beta=0.0)
    (part,) = prepared(method, same, random_model, score).updates[0].parts
    loss, _ = method.loss(random_model, part)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all((weight.grad == 0).all() for weight in random_model.predictor.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 1.0}, r"method\.epsilon=1\.0"),
        ({"epsilon": -0.1}, r"method\.epsilon=-0\.1"),
        ({"mc_samples": 0}, r"method\.mc_samples=0"),
        ({"inner_updates": 0}, r"method\.inner_updates=0"),
        ({"psi": 0.0}, r"method\.psi=0\.0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    gdsd().check(Decoding())
    with pytest.raises(UserError, match=message):
        gdsd(**options).check(Decoding())


def test_groups_of_one_have_no_others_to_compare_with(random_model, scored, score):
    alone = dataclasses.replace(scored, group_size=1)
    with pytest.raises(UserError, match=r"train\.group_size=1: GDSD"):
        gdsd().prepare(alone, random_model, score, None)
