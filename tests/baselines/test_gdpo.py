import dataclasses
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.models.attention import SEQUENCE, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.registry import get_method
from harness.rl.sequence_level import ScoredInputs
from harness.rollout import Rewards

module = sys.modules[get_method("gdpo").__module__]


def gdpo(**options):
    return module.Gdpo(config=module.GdpoConfig(**options))


def seeded():
    return torch.Generator().manual_seed(0)


def test_weights_are_the_rule_s_over_time_and_draws():
    config = module.GdpoConfig(quadrature="simpson", mc_samples=2)
    time, weight = module.nodes(config)
    assert time.tolist() == [0.1, 0.1, 0.5, 0.5, 1.0, 1.0]
    assert weight.tolist() == pytest.approx([1 / 6, 1 / 6, 4 / 6, 4 / 6, 1 / 6, 1 / 6])
    expected = [10 / 12, 10 / 12, 8 / 12, 8 / 12, 1 / 12, 1 / 12]
    assert module.coefficients(time, config).tolist() == pytest.approx(expected)
    uniform = module.GdpoConfig(quadrature="mc", mc_samples=2)
    assert module.coefficients(torch.tensor([0.25, 0.5]).double(), uniform).tolist() == [2.0, 1.0]


def test_the_gauss_rule_of_three_nodes_is_exact_to_the_fifth_power():
    time, weight = module.nodes(module.GdpoConfig())
    for power in range(6):
        assert float((weight * time**power).sum()) == pytest.approx(1 / (power + 1), abs=1e-15)
    assert float((weight * time**6).sum()) != pytest.approx(1 / 7, abs=1e-5)


@pytest.mark.parametrize(
    ("time", "counts"), [(0.5, [2, 2, 4, 1]), (0.1, [1, 1, 1, 1]), (0.3, [1, 2, 2, 1]), (1.0, [4, 5, 7, 1])]
)
def test_shares_are_rounded_halves_to_even_and_one_token_at_least_is_masked(time, counts):
    length_B = torch.tensor([4, 5, 7, 1])
    counted_BC = torch.arange(8) < length_B[:, None]
    mask_BC = module.draw_mask(counted_BC, time, torch.arange(4), 0)
    assert mask_BC.sum(1).tolist() == counts
    assert not (mask_BC & ~counted_BC).any()


def part_of(old, advantage, length):
    return ScoredInputs(
        tokens_BDL=torch.zeros(len(old), 1, 5, dtype=torch.long),
        mask_BL=None,
        target_BC=torch.zeros(len(old), 4, dtype=torch.long),
        weight_BDC=torch.zeros(len(old), 1, 4),
        old_score_BS=torch.tensor(old)[:, None],
        advantage_B=torch.tensor(advantage),
        length_B=torch.tensor(length),
        normaliser=len(old),
    )


def test_the_ratio_is_over_the_row_s_length_or_of_the_sums_with_the_term_over_the_length():
    part = part_of([-8.0, -8.0], [1.0, -1.0], [2.0, 4.0])
    new = torch.tensor([[-8.0 + 2 * torch.tensor(1.1).log()], [-8.0 + 4 * torch.tensor(0.9).log()]])
    loss, clipped = module.sequence_loss(new, part, module.GdpoConfig())
    assert clipped.ratio.flatten().tolist() == pytest.approx([1.1, 0.9])
    assert float(loss) == pytest.approx((-1.1 + 0.9) / 2)
    loss, clipped = module.sequence_loss(new, part, module.GdpoConfig(ratio="sum"))
    assert clipped.ratio.flatten().tolist() == pytest.approx([1.21, 0.9**4])
    assert clipped.high.flatten().tolist() == [True, False]
    assert clipped.low.flatten().tolist() == [False, True]
    assert float(loss) == pytest.approx((-1.2 / 2 + 0.8 / 4) / 2)


def test_only_tokens_up_to_the_first_end_are_masked_and_scored(random_model, scored, score):
    end, mask_id = random_model.special.end_ids[0], random_model.special.mask_id
    scored.rollout.completion_ids_BC[:, 3] = end
    method = gdpo(inner_updates=2, mc_samples=2)
    prepared = method.prepare(scored, random_model, score, method.draw(scored, random_model, seeded()))
    seen = []
    for update in prepared.updates:
        (part,) = update.parts
        is_masked_BDC = part.tokens_BDL[:, :, -12:] == mask_id
        first = int((scored.rollout.completion_ids_BC[0] == end).long().argmax())
        assert not is_masked_BDC[0, :, first + 1 :].any()
        assert torch.equal(part.weight_BDC > 0, is_masked_BDC)
        assert part.length_B[0] == first + 1
        seen.append(is_masked_BDC)
    assert not torch.equal(*seen)


def test_a_row_that_ends_at_once_has_its_one_token_masked_in_every_input(random_model, scored):
    scored.rollout.completion_ids_BC[0, 0] = random_model.special.end_ids[0]
    draws = gdpo(inner_updates=1).draw(scored, random_model, seeded())
    assert draws.is_masked_BUDC[0, 0].tolist() == [[True] + [False] * 11] * 3


@pytest.mark.parametrize("mask_after_end", [True, False])
def test_a_masked_prompt_takes_the_text_after_the_end_with_it_and_neither_is_scored(
    random_model, scored, score, mask_after_end
):
    scored.rollout.completion_ids_BC[:, 0] = random_model.special.end_ids[0]
    method = gdpo(inner_updates=1, p_mask_prompt=1.0, mask_after_end=mask_after_end)
    prepared = method.prepare(scored, random_model, score, method.draw(scored, random_model, seeded()))
    (part,) = prepared.updates[0].parts
    is_masked_BDL = part.tokens_BDL == random_model.special.mask_id
    prompt_BP = scored.rollout.prompts.mask_BP
    assert torch.equal(is_masked_BDL[:, 0, :-12], prompt_BP)
    assert bool(is_masked_BDL[:, :, -11:].any()) == bool(is_masked_BDL[:, :, -11:].all()) == mask_after_end
    assert (part.weight_BDC[:, :, 1:] == 0).all()


def test_uniform_times_are_one_masked_token_of_the_longest_row_at_least(random_model, scored):
    scored.rollout.completion_ids_BC[:, 2] = random_model.special.end_ids[0]
    draws = gdpo(inner_updates=4, quadrature="mc", mc_samples=50).draw(scored, random_model, seeded())
    assert float(draws.time_UD.min()) == pytest.approx(1 / 3)
    assert float(draws.time_UD.max()) < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quadrature": "gauss-6"}, r"Unknown method\.quadrature 'gauss-6'.*gauss-5, mc, simpson"),
        ({"ratio": "token"}, r"Unknown method\.ratio 'token'"),
        ({"mc_samples": 0}, r"method\.mc_samples=0"),
        ({"inner_updates": 0}, r"method\.inner_updates=0"),
        ({"p_mask_prompt": 1.5}, r"method\.p_mask_prompt=1\.5"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        gdpo(**options).check(Decoding())


def test_the_ratio_of_sums_is_warned_of_and_the_other_is_not(recwarn):
    gdpo().check(Decoding())
    assert not recwarn
    with pytest.warns(UserWarning, match=r"method\.ratio=sum"):
        gdpo(ratio="sum").check(Decoding())


def test_a_masked_prompt_is_refused_before_models_that_attend_by_blocks(random_model):
    network = random_model.predictor.transformer
    attention = Attention(block_length=4, blocks_from=SEQUENCE)
    blocks = DiffusionLM(network, random_model.tokenizer, random_model.special, name="blocks", attention=attention)
    gdpo().check_model(blocks)
    gdpo(p_mask_prompt=0.1).check_model(random_model)
    with pytest.raises(UserError, match=r"method\.p_mask_prompt=0\.1"):
        gdpo(p_mask_prompt=0.1).check_model(blocks)


def test_groups_without_variance_have_an_advantage_of_exactly_0(random_model, scored, score):
    equal = torch.cat([torch.full((4,), 0.1), scored.rewards.total_B[4:]])
    scored = dataclasses.replace(scored, rewards=Rewards(total_B=equal, parts={}))
    method = gdpo(inner_updates=1)
    prepared = method.prepare(scored, random_model, score, method.draw(scored, random_model, seeded()))
    assert prepared.advantages[:4].tolist() == [0.0] * 4
    assert prepared.advantages[4:].abs().max() > 0
