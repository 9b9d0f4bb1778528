"""wd1 against the official trainers (both terms, the positive one, a mixture with the reference policy): inputs,
log-probabilities, weights, loss, gradients, and what the mixture samples."""

import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.registry import get_method
from harness.rl.masked import new_logprob
from harness.rl.weighted import weighted_likelihood
from harness.rollout import Prompts, RolloutNeeds

module = sys.modules[get_method("wd1").__module__]
CONFIGS = ["np", "p", "np_zero_variance", "np_no_positive", "p_no_positive", "np_group6_p030_cfg05", "ref"]


@pytest.fixture(scope="module")
def trainer(official_trainer):
    return official_trainer("wd1")


def test_every_configuration_of_the_golden_file_is_tested(trainer):
    assert [config["name"] for config in trainer.meta["configs"]] == CONFIGS
    assert {config["kind"] for config in trainer.meta["configs"]} == {"np", "p", "ref"}


def wd1(official, **options):
    """Our method with an official configuration."""
    config = module.Wd1Config(
        inner_updates=official["num_iterations"],
        p_mask_prompt=official["p_mask_prompt"],
        terms="positive" if official["kind"] == "p" else "both",
        guidance_scale=official["cfg_scale"],
        **options,
    )
    return module.Wd1(config=config)


def prepared_by(method, trainer, name, model):
    is_masked_BUP = trainer.masks(name)[..., : trainer.meta["prompt_len"]].transpose(0, 1)
    return method.prepare(trainer.scored(name), model, None, is_masked_BUP)


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_losses_and_gradients_are_the_official_ones(name, trainer, golden_model, gradients):
    official, expected, model = trainer.options(name), trainer.expected(name), golden_model("llada_tiny")
    method = wd1(official)
    prepared = prepared_by(method, trainer, name, model)
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    weight_B = expected["weight_pos"] - (expected["weight_neg"] if official["kind"] != "p" else 0.0)
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        assert torch.equal(part.tokens_BDL[:, 0], expected["perturbed_ids"][index])
        assert torch.equal(part.counted_BC, trainer.single["completion_mask"].bool())
        torch.testing.assert_close(part.advantage_B, weight_B, atol=1e-7, rtol=0)
        with torch.no_grad():
            logprob_BC = new_logprob(model, part, guidance_scale=official["cfg_scale"])[:, 0]
        torch.testing.assert_close(logprob_BC, expected["per_token_logps"][index], atol=1e-4, rtol=0)
        model.predictor.zero_grad()
        loss, _ = method.loss(model, part)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss"][index], atol=1e-4, rtol=0)
        found = gradients(model)
        torch.testing.assert_close(found["norm"], expected["grad_norm"][index], atol=1e-12, rtol=1e-4)
        torch.testing.assert_close(found["ln_f"], expected["grad_ln_f"][index], atol=2e-5, rtol=0)
        if index == 0 and "grad_block1_q_proj_it0" in expected:
            torch.testing.assert_close(found["q_proj"], expected["grad_block1_q_proj_it0"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, trainer):
    method, expected = wd1(trainer.options(name)), trainer.expected(name, double=True)
    weight_B = module.row_weights(expected["advantages"], 6, method.config)
    for index in range(2):
        logprob_B = module.text_logprob(expected["per_token_logps"][index], trainer.single["completion_mask"].bool())
        loss = weighted_likelihood(logprob_B, weight_B, 1.0)
        torch.testing.assert_close(loss, expected["loss"][index], atol=1e-8, rtol=0)


def test_a_softmax_over_the_group_is_that_over_a_batch_of_one_group(trainer, golden_model):
    name, model = "np_group6_p030_cfg05", golden_model("llada_tiny")
    batch, group = (
        prepared_by(wd1(trainer.options(name), softmax_over=over), trainer, name, model).updates[0].parts[0]
        for over in ("batch", "group")
    )
    assert torch.equal(batch.advantage_B, group.advantage_B)
    assert batch.normaliser == group.normaliser == 1


@pytest.mark.parametrize("beta", [0.04, 0.5])
def test_rollouts_from_a_mixture_with_the_reference_policy_are_the_official_ones(beta, trainer, golden_model):
    settings = trainer.meta["ref_generate"]
    decoding = Decoding(
        completion_length=trainer.meta["completion_len"],
        block_length=settings["block_length"],
        num_steps=settings["steps"],
        temperature=settings["temperature"],
        eos_policy="run",
    )
    model = golden_model(settings["policy"], reference=settings["reference"])
    ids_BP = trainer.single["prompt_completion_ids"][settings["rows"], : trainer.meta["prompt_len"]]
    rollout = generate(
        model,
        Prompts(ids_BP=ids_BP, mask_BP=None),
        decoding,
        torch.zeros(len(ids_BP), dtype=torch.long),
        needs=RolloutNeeds(reference_weight=beta),
    )
    official = trainer.single[f"ref_generate_beta{beta}/output_ids"]
    assert torch.equal(torch.cat([ids_BP, rollout.completion_ids_BC], 1), official)
