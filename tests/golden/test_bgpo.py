"""BGPO against DARE's trainer: inputs, weights, log-likelihoods, ratios, loss, gradients."""

import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.masked import until_first_end
from harness.rl.sequence_level import new_score

module = sys.modules[get_method("bgpo").__module__]
CONFIGS = ["mc4", "mc4_nl2_clip002", "zero_variance", "no_std_dual_clip", "attend_to_first_end", "seq_mean_token_sum"]


@pytest.fixture(scope="module")
def trainer(official_trainer):
    return official_trainer("bgpo")


def bgpo(official):
    """Our method with an official configuration."""
    clip = official["clip_ratio"]
    low, high = (official[f"clip_ratio_{side}"] for side in ("low", "high"))
    config = module.BgpoConfig(
        mc_samples=official["mc_num"],
        run_length=official["n_l"],
        clip_low=clip if low is None else low,
        clip_high=clip if high is None else high,
        clip_dual=official["clip_ratio_c"],
        aggregation=official["loss_agg_mode"],
        scale_rewards=official["norm_adv_by_std"],
        response="all" if official["attention"] == "all" else "until_end",
    )
    return module.Bgpo(config=config)


def test_every_configuration_of_the_golden_file_is_tested(trainer):
    assert [config["name"] for config in trainer.meta["configs"]] == CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
def test_likelihoods_losses_and_gradients_are_the_official_ones(name, trainer, golden_model, gradients):
    method, expected, model = bgpo(trainer.options(name)), trainer.expected(name), golden_model("llada_tiny")
    is_masked_BMC = trainer.masks(name)[..., trainer.meta["prompt_len"] :]
    old = golden_model("llada_tiny_old")
    prepared = method.prepare(trainer.scored(name), old, None, is_masked_BMC[:, None])
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    (part,) = prepared.updates[0].parts
    assert torch.equal(part.tokens_BDL, expected["perturbed_ids"])
    assert torch.equal(is_masked_BMC.sum(2), expected["mask_count"])
    seen_BL = expected["attention_mask"].bool()
    assert torch.equal(seen_BL if part.mask_BL is None else part.mask_BL, seen_BL)
    weight_BM1 = 1 / expected["p_mask"][:, :, None] / 16
    torch.testing.assert_close(part.weight_BDC, is_masked_BMC * weight_BM1, atol=1e-6, rtol=0)
    torch.testing.assert_close(part.old_score_BS, expected["old_l"].T, atol=5e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(new_score(model, part), expected["new_l"].T, atol=5e-5, rtol=0)
    model.predictor.zero_grad()
    loss, values = method.loss(model, part)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected["loss"].sum(), atol=2e-5, rtol=0)
    torch.testing.assert_close(values["ratio"].view(6, -1), expected["ratio"].T, atol=5e-5, rtol=5e-5)
    # The official code has a loss and a backward pass for each draw; ours are their sum.
    found = gradients(model)
    torch.testing.assert_close(found["norm"], expected["grad_norm_sum"][0], atol=1e-12, rtol=1e-4)
    torch.testing.assert_close(found["ln_f"], expected["grad_ln_f"].sum(0), atol=5e-5, rtol=0)
    torch.testing.assert_close(found["q_proj"], expected["grad_block1_q_proj_sum"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_of_every_draw_is_the_official_one_in_float64(name, trainer):
    method, expected = bgpo(trainer.options(name)), trainer.expected(name, double=True)
    scored = trainer.scored(name)
    advantage_B = module.advantages(scored.rewards.total_B, scored.group_size, method.config)
    torch.testing.assert_close(advantage_B, expected["advantages"], atol=1e-12, rtol=0)
    response_BC = torch.ones(6, 16, dtype=torch.bool)
    if method.config.response == "until_end":
        response_BC = until_first_end(scored.rollout.completion_ids_BC == trainer.meta["eos_token_id"])
    part = module.WeighedInputs(
        tokens_BDL=scored.rollout.completion_ids_BC[:, None],
        mask_BL=None,
        target_BC=scored.rollout.completion_ids_BC,
        weight_BDC=torch.zeros(6, 1, 16),
        old_score_BS=expected["old_l"].T,
        advantage_B=advantage_B,
        length_B=torch.full((6,), 16.0),
        normaliser=6,
        share_B=module.row_shares(response_BC, scored, method.config.aggregation),
    )
    term_BM, values = module.clipped_bound(expected["new_l"].T, part, method.config)
    torch.testing.assert_close(values["ratio"], expected["ratio"].T, atol=1e-8, rtol=0)
    loss_M = (part.share_B[:, None] * term_BM).sum(0) / method.config.mc_samples
    torch.testing.assert_close(loss_M, expected["loss"], atol=1e-8, rtol=0)


def test_terms_are_those_of_the_official_table_and_a_number_where_it_has_none(trainer):
    table = trainer.meta["function_table_D_A_loss_grad"]
    assert [row[:2] for row in table if "nan" in row] == [[-1.5, 1.0]]
    for moved, advantage, *official in table:
        new_BM = torch.tensor([[moved]], requires_grad=True)
        part = module.WeighedInputs(
            tokens_BDL=torch.zeros(1, 1, 1),
            mask_BL=None,
            target_BC=torch.zeros(1, 1),
            weight_BDC=torch.zeros(1, 1, 1),
            old_score_BS=torch.zeros(1, 1),
            advantage_B=torch.tensor([advantage]),
            length_B=torch.ones(1),
            normaliser=1,
            share_B=torch.ones(1),
        )
        term_BM, _ = module.clipped_bound(new_BM, part, module.BgpoConfig())
        term_BM.sum().backward()
        # 1 + D is formed directly, officially as the exponential of its logarithm.
        expected = [0.5, -1.0] if "nan" in official else official
        assert [float(term_BM.detach()), float(new_BM.grad)] == pytest.approx(expected, abs=1e-6)
