"""SPG against the official trainer: inputs, log-probabilities, both bounds, loss, gradients."""

import sys

import pytest
import torch

from harness.diffusion.elbo import mean_masked_logprob, mean_upper_bound
from harness.registry import get_method
from harness.rl.masked import new_logprob

module = sys.modules[get_method("spg").__module__]
CONFIGS = [
    "mix",
    "elbo",
    "eubo_b2",
    "zero",
    "mix_b1_w03_t3_nomaskprompt",
    "mix_zero_variance",
    "mix_no_positive",
    "mix_random",
    "mix_all",
    "mix_block_all",
    "mix_block8_seed42",
]


@pytest.fixture(scope="module")
def trainer(official_trainer):
    return official_trainer("spg")


def test_every_configuration_of_the_golden_file_is_tested(trainer):
    assert [config["name"] for config in trainer.meta["configs"]] == CONFIGS


def spg(official):
    """Our method with an official configuration."""
    same = ("logp_estimation", "mix_weight", "eubo_beta", "forward_type", "num_t", "min_t", "max_t", "block_length")
    config = module.SpgConfig(
        inner_updates=official["num_iterations"],
        p_mask_prompt=official["p_mask_prompt"] if official["use_mask_prompt"] else 0.0,
        random_masking=official.get("random_masking", True),
        guidance_scale=official["cfg_scale"],
        beta=official["beta"],
        **{name: official[name] for name in same},
    )
    return module.Spg(config=config)


@pytest.mark.parametrize("name", CONFIGS)
def test_bounds_losses_and_gradients_are_the_official_ones(name, trainer, golden_model, gradients):
    method, expected, model = spg(trainer.options(name)), trainer.expected(name), golden_model("llada_tiny")
    prepared = method.prepare(trainer.scored(name), model, None, trainer.masks(name).transpose(0, 1))
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    assert torch.equal(prepared.advantages > 0, expected["positive"])
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        assert torch.equal(part.tokens_BDL, expected["perturbed_ids"][index])
        with torch.no_grad():
            logprob_BDC = new_logprob(model, part)
        torch.testing.assert_close(logprob_BDC, expected["per_token_logps"][index], atol=1e-4, rtol=0)
        model.predictor.zero_grad()
        loss, values = method.loss(model, part)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss"][index], atol=5e-6, rtol=0)
        for bound in ("elbo", "eubo"):
            torch.testing.assert_close(values[bound], expected[bound][index], atol=5e-5, rtol=0)
        found = gradients(model)
        torch.testing.assert_close(found["norm"], expected["grad_norm"][index], atol=1e-12, rtol=1e-4)
        torch.testing.assert_close(found["ln_f"], expected["grad_ln_f"][index], atol=2e-5, rtol=0)
        if index == 0 and "grad_block1_q_proj_it0" in expected:
            torch.testing.assert_close(found["q_proj"], expected["grad_block1_q_proj_it0"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, trainer):
    method, expected = spg(trainer.options(name)), trainer.expected(name, double=True)
    counted_BC = trainer.single["completion_mask"].bool()
    is_masked_UBDC = trainer.masks(name)[..., trainer.meta["prompt_len"] :]
    for index, is_masked_BDC in enumerate(is_masked_UBDC):
        part = module.Bounded(
            tokens_BDL=torch.zeros(6, 1, 24, dtype=torch.long),
            mask_BL=None,
            target_BC=trainer.single["prompt_completion_ids"][:, trainer.meta["prompt_len"] :],
            is_scored_BDC=is_masked_BDC & counted_BC[:, None],
            length_B=counted_BC.sum(1),
            advantage_B=expected["advantages"],
            weight_B=torch.ones(6, dtype=torch.float64),
            normaliser=float(counted_BC.sum()),
        )
        logprob_BDC = expected["per_token_logps"][index]
        lower_B = mean_masked_logprob(logprob_BDC, part.is_scored_BDC)
        upper_B = mean_upper_bound(logprob_BDC, part.is_scored_BDC, part.length_B, method.config.eubo_beta)
        value_B = module.row_value(lower_B, upper_B, part.advantage_B, method.config)
        found = {"elbo": lower_B, "eubo": upper_B, "seq_logps": value_B, "loss": module.weighted_loss(value_B, part)}
        for quantity, value in found.items():
            torch.testing.assert_close(value, expected[quantity][index], atol=1e-8, rtol=0)


def fitting_blocks(is_masked_C, text, config):
    """The blocks that a row's input can have masked by the law of its kind."""
    size = config.block_length if config.forward_type.startswith("block") else len(is_masked_C)
    found = []
    for start in range(0, text, size):
        inside = min(size, text - start)
        count = int(is_masked_C[start : start + inside].sum())
        lowest, highest = max(int(inside * config.min_t), 1), int(inside * config.max_t)
        fits = count == inside if config.forward_type.endswith("all") else lowest <= count <= highest
        before = config.p_mask_prompt > 0 or not is_masked_C[:start].any()
        if fits and before and is_masked_C[start + inside :].all():
            found.append(start // size)
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_our_masks_and_the_official_ones_obey_one_law(name, trainer, golden_model):
    method, lengths = spg(trainer.options(name)), trainer.single["completion_mask"].sum(1).tolist()
    ours = method.draw(trainer.scored(name), golden_model("llada_tiny"), torch.Generator().manual_seed(0))
    official = trainer.masks(name).transpose(0, 1)
    assert ours.shape == official.shape
    for masks in (ours, official):
        for row, text in enumerate(lengths):
            for is_masked_L in masks[row].flatten(0, 1):
                assert fitting_blocks(is_masked_L[8:], text, method.config)
    if name == "mix_block8_seed42":
        assert torch.equal(*ours.unbind(1))
        assert torch.equal(*official.unbind(1))
