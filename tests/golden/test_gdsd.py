"""GDSD and GDSD-TLC against the official trainers: inputs, scores, loss, gradients."""

import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.policy_loss import k2
from harness.rl.sequence_level import ScoredInputs, new_score

module = sys.modules[get_method("gdsd").__module__]
CONFIGS = [
    "gdsd",
    "gdsd_eps02_psi1",
    "gdsd_wide_clamp",
    "gdsd_on_policy",
    "gdsd_scaled_zero_variance",
    "tlc",
    "tlc_wide_clamp",
    "tlc_on_policy",
]


@pytest.fixture(scope="module")
def trainer(official_trainer):
    return official_trainer("gdsd")


def gdsd(official):
    """Our method with an official configuration."""
    same = ("psi", "epsilon", "beta", "scale_rewards")
    config = module.GdsdConfig(
        inner_updates=official["num_iterations"],
        mc_samples=official["num_mc"],
        tlc=official["kind"] == "tlc",
        **{name: official[name] for name in same},
    )
    return module.Gdsd(config=config)


def test_every_configuration_of_the_golden_file_is_tested(trainer):
    assert [config["name"] for config in trainer.meta["configs"]] == CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_losses_and_gradients_are_the_official_ones(name, trainer, golden_model, gradients):
    method, expected = gdsd(trainer.options(name)), trainer.expected(name)
    model = golden_model("llada_tiny", reference="llada_tiny_ref")
    draws = trainer.masks(name)[..., trainer.meta["prompt_len"] :].permute(2, 0, 1, 3)
    prepared = method.prepare(trainer.scored(name), golden_model("llada_tiny_old"), None, draws)
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    pairs_UMPBL = torch.stack([expected["perturbed_ids"], expected["coupled_perturbed_ids"]], 2)
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        assert torch.equal(part.tokens_BDL, pairs_UMPBL[index].flatten(0, 1).transpose(0, 1))
        if "old_score" in expected:
            torch.testing.assert_close(part.old_score_BS, expected["old_score"][index], atol=5e-4, rtol=0)
        with torch.no_grad():
            torch.testing.assert_close(new_score(model, part), expected["new_score"][index], atol=5e-4, rtol=0)
        model.predictor.zero_grad()
        loss, values = method.loss(model, part)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss"][index], atol=1e-6, rtol=5e-7)
        if "ref_score" in expected:
            kl_BM = k2(expected["new_score"][index], expected["ref_score"][index])
            torch.testing.assert_close(values["kl"], kl_BM.flatten(), atol=5e-3, rtol=1e-4)
        found = gradients(model)
        torch.testing.assert_close(found["norm"], expected["grad_norm"][index], atol=1e-12, rtol=1e-4)
        torch.testing.assert_close(found["ln_f"], expected["grad_ln_f"][index], atol=5e-5, rtol=0)
        if index == 0:
            torch.testing.assert_close(found["q_proj"], expected["grad_block1_q_proj_it0"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, trainer):
    method, expected = gdsd(trainer.options(name)), trainer.expected(name, double=True)
    scored = trainer.scored(name)
    advantage_B = module.advantages(scored.rewards.total_B, scored.group_size, method.config)
    torch.testing.assert_close(advantage_B, expected["advantages"], atol=1e-12, rtol=0)
    completion_BC = scored.rollout.completion_ids_BC
    for index, new_BM in enumerate(expected["new_score"]):
        part = ScoredInputs(
            tokens_BDL=completion_BC[:, None],
            mask_BL=None,
            target_BC=completion_BC,
            weight_BDC=torch.zeros(6, 1, 16),
            old_score_BS=expected["old_score"][index] if "old_score" in expected else None,
            advantage_B=advantage_B,
            length_B=torch.full((6,), 16.0, dtype=torch.float64),
            normaliser=6,
            scores=new_BM.shape[1],
        )
        kl_BM = k2(new_BM, expected["ref_score"][index]) if method.config.beta else torch.zeros_like(new_BM)
        loss = module.distillation_loss(new_BM, kl_BM, part, method.config)
        torch.testing.assert_close(loss, expected["loss"][index], atol=1e-8, rtol=0)
