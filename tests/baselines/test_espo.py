import dataclasses
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.sequence_level import ScoredInputs, new_score

module = sys.modules[get_method("espo").__module__]


def test_the_advantage_is_the_reward_less_the_mean_of_the_others():
    rewards = torch.tensor([1.0, 0.0, 0.5, 2.0, 2.0, 2.0])
    plain = module.advantages(rewards, 3, module.EspoConfig())
    assert plain.tolist() == pytest.approx([0.75, -0.75, 0.0, 0.0, 0.0, 0.0])
    scaled = module.advantages(rewards, 3, module.EspoConfig(scale_rewards=True))
    assert scaled.tolist() == pytest.approx([0.75 / 0.5001, -0.75 / 0.5001, 0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("scale_rewards", [False, True])
def test_a_group_of_equal_rewards_has_an_advantage_of_exactly_0(scale_rewards):
    equal = torch.full((4,), 0.1, dtype=torch.float64)
    # 0.1 less a third of three times 0.1.
    assert (equal - (equal.sum() - equal) / 3 != 0).all()
    rewards = torch.cat([equal, torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)])
    found = module.advantages(rewards, 4, module.EspoConfig(scale_rewards=scale_rewards))
    assert found[:4].tolist() == [0.0] * 4
    assert (found[4:] != 0).all()


def bound_of(old, advantage):
    return ScoredInputs(
        tokens_BDL=torch.zeros(2, 1, 5, dtype=torch.long),
        mask_BL=None,
        target_BC=torch.zeros(2, 4, dtype=torch.long),
        weight_BDC=torch.zeros(2, 1, 4),
        old_score_BS=torch.tensor(old)[:, None],
        advantage_B=torch.tensor(advantage),
        length_B=torch.full((2,), 4.0),
        normaliser=2,
    )


def test_the_ratio_is_per_token_and_the_kl_is_divided_by_length_once():
    new = torch.tensor([-8.0, -8.0 + 4 * torch.tensor(1.5).log()])
    part = bound_of([-8.0, -8.0], [1.0, 1.0])
    loss, clipped = module.sequence_loss(new[:, None], torch.tensor([[2.0], [0.0]]), part, module.EspoConfig(beta=0.1))
    assert clipped.ratio.flatten().tolist() == pytest.approx([1.0, 1.5])
    assert float(loss) == pytest.approx((-1.0 + 0.1 * 2.0 / 4 - 1.2) / 2)


def test_clip_0_stops_every_gain_but_no_loss():
    new = torch.tensor([-8.0 + 4 * torch.tensor(1.1).log(), -8.0 + 4 * torch.tensor(1.1).log()])
    part = bound_of([-8.0, -8.0], [1.0, -1.0])
    config = module.EspoConfig(clip_low=0.0, clip_high=0.0, beta=0.0)
    loss, _ = module.sequence_loss(new[:, None], torch.zeros(2, 1), part, config)
    assert float(loss) == pytest.approx((-1.0 + 1.1) / 2)


def test_masks_are_spread_over_the_batch_and_complements_follow(random_model, scored, score):
    config = module.EspoConfig(inner_updates=2, mc_samples=2, beta=0.0)
    method = module.Espo(config=config)
    draws = method.draw(scored, random_model, torch.Generator().manual_seed(0))
    prepared = method.prepare(scored, random_model, score, draws)
    length, mask_id = scored.rollout.completion_length, random_model.special.mask_id
    seen = []
    for update in prepared.updates:
        (part,) = update.parts
        is_masked_BDC = part.tokens_BDL[:, :, -length:] == mask_id
        assert part.tokens_BDL.shape[1] == 4
        assert torch.equal(is_masked_BDC[:, 0::2], ~is_masked_BDC[:, 1::2])
        for draw in (0, 2):
            counts = is_masked_BDC[:, draw].sum(1)
            expected = elbo.evenly_spaced_counts(len(counts), length, int(counts[0]))
            assert torch.equal(counts, expected)
        seen.append(is_masked_BDC)
    assert not torch.equal(*seen)
    assert not torch.equal(seen[0][:, 0], seen[0][:, 2])


def test_the_weights_of_a_row_hold_the_mean_over_its_inputs(random_model, scored, score):
    config = module.EspoConfig(inner_updates=1, mc_samples=3, beta=0.0)
    method = module.Espo(config=config)
    draws = method.draw(scored, random_model, torch.Generator().manual_seed(0))
    prepared = method.prepare(scored, random_model, score, draws)
    (part,) = prepared.updates[0].parts
    length = scored.rollout.completion_length
    is_empty_BD = (part.weight_BDC > 0).sum(2) == 0
    expected_BD = torch.where(is_empty_BD, 0.0, (length + 1) / 6)
    torch.testing.assert_close(part.weight_BDC.sum(2), expected_BD)


def test_the_elbo_of_a_row_does_not_depend_on_other_rows(random_model, scored, score):
    config = module.EspoConfig(inner_updates=1, mc_samples=1, coupled=False, beta=0.0)
    method = module.Espo(config=config)
    draws = method.draw(scored, random_model, torch.Generator().manual_seed(0))
    prepared = method.prepare(scored, random_model, score, draws)
    (part,) = prepared.updates[0].parts
    (row,) = (piece for index, piece in enumerate(part.split(1)) if index == 5)
    with torch.no_grad():
        alone = new_score(random_model, row)
    torch.testing.assert_close(alone[0], part.old_score_BS[5], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["inner_updates", "mc_samples"])
def test_options_below_1_are_named(name):
    with pytest.raises(UserError, match=f"method.{name}=0"):
        module.Espo(config=module.EspoConfig(**{name: 0})).check(Decoding())
    module.Espo().check(Decoding())


def test_groups_of_one_have_no_others_to_compare_with(random_model, scored, score):
    alone = dataclasses.replace(scored, group_size=1)
    with pytest.raises(UserError, match=r"train\.group_size=1"):
        module.Espo().prepare(alone, random_model, score, None)
