"""DMPO against the official trainer: inputs, ELBOs, weights, centring, loss, gradients."""

import sys

import pytest
import torch

from harness.diffusion.elbo import mean_masked_logprob
from harness.registry import get_method
from harness.rl.masked import masked_elbo, new_logprob
from harness.rl.weighted import mean_within, weighted_likelihood

module = sys.modules[get_method("dmpo").__module__]
CONFIGS = [
    "default",
    "alpha5_no_centering",
    "alpha0_coeff05_strength05",
    "alpha5_unbiased_r4",
    "alpha5_mean_independent_noclamp",
    "alpha5_zero_variance",
    "alpha5_mask_non_eos",
]


@pytest.fixture(scope="module")
def trainer(official_trainer):
    return official_trainer("dmpo")


def test_every_configuration_of_the_golden_file_is_tested(trainer):
    assert [config["name"] for config in trainer.meta["configs"]] == CONFIGS


def dmpo(official):
    """Our method with an official configuration."""
    centring = "negative" if official["advantage_centering_neg"] else "mean"
    centring = "unbiased" if official["advantage_centering_unbias"] else centring
    config = module.DmpoConfig(
        inner_updates=1,
        replicates=official["num_replicates"],
        antithetic=official["loss_antithetic"],
        clamp=official["loss_mask_prob_clamp"],
        mask_text_only=official["loss_mask_non_eos"],
        alpha=official["alpha"],
        coeff=official["coeff"],
        elbo_samples=official["compute_ref_log_prob_elbo_size"],
        centring=centring if official["advantage_centering"] else "none",
        strength=official["centering_strength"],
    )
    return module.Dmpo(config=config)


def masks_of(trainer, name):
    """The official masks of the loss (B, U, D, C) and of the weights (B, K, C)."""
    of_loss, of_weights = (
        trainer.masks(name, quantity)[..., trainer.meta["prompt_len"] :].transpose(0, 1)
        for quantity in ("perturbed_ids", "elbo_perturbed_ids")
    )
    return of_loss[:, None], of_weights


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_losses_and_gradients_are_the_official_ones(name, trainer, golden_model, gradients):
    method, expected, scored = dmpo(trainer.options(name)), trainer.expected(name), trainer.scored(name)
    old = golden_model("llada_tiny_old", reference="llada_tiny_ref")
    masks = masks_of(trainer, name)
    prepared = method.prepare(scored, old, None, masks)
    old_elbo_B = masked_elbo(old, scored.rollout, masks[1])
    torch.testing.assert_close(old_elbo_B, expected["old_elbo_per_token"].sum(1), atol=2e-4, rtol=0)
    (part,) = prepared.updates[0].parts
    assert torch.equal(part.tokens_BDL, expected["perturbed_ids"].transpose(0, 1))
    if method.config.centring in ("negative", "none"):
        strength = method.config.strength * (method.config.centring == "negative")
        weight_B = expected["advantages"] - strength * expected["negative_advantages"]
        torch.testing.assert_close(part.advantage_B, weight_B, atol=1e-4, rtol=0)
    model = golden_model("llada_tiny")
    with torch.no_grad():
        logprob_BDC = torch.where(part.is_masked_BDC, new_logprob(model, part), 0.0)
    torch.testing.assert_close(logprob_BDC.transpose(0, 1), expected["per_token_logps"], atol=1e-4, rtol=0)
    loss, _ = method.loss(model, part)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected["loss"][0], atol=2e-4, rtol=0)
    found = gradients(model)
    torch.testing.assert_close(found["norm"], expected["grad_norm"][0], atol=0, rtol=1e-4)
    torch.testing.assert_close(found["ln_f"], expected["grad_ln_f"], atol=2e-5, rtol=0)
    if "grad_block1_q_proj" in expected:
        torch.testing.assert_close(found["q_proj"], expected["grad_block1_q_proj"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, trainer):
    config, expected = dmpo(trainer.options(name)).config, trainer.expected(name, double=True)
    scored, masks = trainer.scored(name), masks_of(trainer, name)
    old_B, reference_B = (expected[f"{policy}_elbo_per_token"].sum(1) for policy in ("old", "ref"))
    reward_B, log_rnd_B = scored.rewards.total_B, reference_B - old_B
    positive_B = module.group_weights(reward_B, log_rnd_B, 3, config)
    negative_B = module.group_weights(-reward_B, log_rnd_B, 3, config)
    torch.testing.assert_close(positive_B, expected["advantages"], atol=1e-8, rtol=0)
    torch.testing.assert_close(negative_B, expected["negative_advantages"], atol=1e-8, rtol=0)
    score_B = mean_masked_logprob(expected["per_token_logps"].transpose(0, 1), masks[0][:, 0])
    weight_B = module.centred_weights(reward_B, log_rnd_B, scored, config)
    if config.centring == "unbiased":
        weight_B = weight_B - config.strength * (16 * score_B - old_B).softmax(0)
    if config.centring == "mean":
        torch.testing.assert_close(weight_B, positive_B - mean_within(positive_B, 6), atol=1e-12, rtol=0)
    loss = weighted_likelihood(score_B, weight_B, 1.0)
    torch.testing.assert_close(loss, expected["loss"][0], atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_our_masks_are_paired_like_the_official_ones(name, trainer, golden_model):
    method, scored = dmpo(trainer.options(name)), trainer.scored(name)
    ours = method.draw(scored, golden_model("llada_tiny"), torch.Generator().manual_seed(0))
    for mine, official in zip(ours, masks_of(trainer, name), strict=True):
        assert mine.shape == official.shape
    if not method.config.mask_text_only:
        for kind in (ours[0][:, 0], masks_of(trainer, name)[0][:, 0], ours[1], masks_of(trainer, name)[1]):
            first, second = kind.chunk(2, 1)
            assert torch.equal(first, ~second) == method.config.antithetic
