"""coupled-GRPO against DiffuCoder's trainer: advantages, the three inputs, scores, ratio, KL, loss, gradients."""

import dataclasses
import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.token_level import token_loss

CONFIGS = ["default", "beta0_eps002", "scaled_zero_variance", "on_policy", "accum2_eps002", "no_shift"]
FILE = "loss/coupled_grpo"
module = sys.modules[get_method("coupled-grpo").__module__]


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json(f"{FILE}.json")["configs"]] == CONFIGS


def coupled(official):
    """Our method with an official configuration."""
    config = module.CoupledGrpoConfig(
        inner_updates=official["num_iterations"],
        clip=official["epsilon"],
        beta=official["beta"],
        scale_rewards=official["scale_rewards"],
    )
    return module.CoupledGrpo(config=config)


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


@pytest.fixture(scope="module")
def prepared_case(golden, golden_json, golden_model, golden_scored, golden_rewards):
    """By configuration: the official one, method, current policy, the updates prepared by the old policy, and what the
    official code returned."""
    meta, tensors = golden_json(f"{FILE}.json"), golden(f"{FILE}.safetensors")
    made = {}

    def case(name):
        if name not in made:
            official = next(config for config in meta["configs"] if config["name"] == name)
            expected, method = of_config(tensors, name), coupled(official)
            # On policy the official code takes the new scores for the old ones.
            old = "llada_tiny" if official["num_iterations"] == 1 else "llada_tiny_old"
            is_masked_UBC = expected["perturbed_ids"][:, 1, :, meta["prompt_len"] :] == meta["mask_id"]
            draws = module.Draws(
                rate_BU=expected["mask_ratio"].expand(6, -1), is_masked_BUC=is_masked_UBC.transpose(0, 1)
            )
            passes = official["gradient_accumulation_steps"]
            scored = golden_scored(
                tensors,
                meta,
                golden_rewards(tensors, meta, official["rewards"]),
                micro_batch_rows=6 // passes,
                accumulated_batches=passes,
            )
            prepared = method.prepare(scored, golden_model(old, shift=official["shift"]), None, draws)
            model = golden_model("llada_tiny", reference="llada_tiny_ref", shift=official["shift"])
            made[name] = official, method, model, prepared, expected
        return made[name]

    return case


@pytest.mark.parametrize("name", CONFIGS)
def test_inputs_advantages_and_old_scores_are_the_official_ones(prepared_case, name):
    official, _, _, prepared, expected = prepared_case(name)
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        assert torch.equal(part.tokens_BDL, expected["perturbed_ids"][index].transpose(0, 1))
        old = expected["new_per_token_logps" if official["num_iterations"] == 1 else "old_per_token_logps"]
        torch.testing.assert_close(part.old_logprob_Nn, old[index], atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_ratios_and_gradients_are_the_official_ones(prepared_case, name):
    official, method, model, prepared, expected = prepared_case(name)
    weights, passes = dict(model.predictor.model.named_parameters()), official["gradient_accumulation_steps"]
    for index, update in enumerate(prepared.updates):
        (whole,) = update.parts
        for micro, part in enumerate(whole.split(3 * 6 // passes)):
            rows = slice(micro * 6 // passes, (micro + 1) * 6 // passes)
            model.predictor.zero_grad()
            loss, values = method.loss(model, part)
            # Each accumulated batch is a loss of its own there, and a share of the whole here.
            (passes * loss).backward()
            torch.testing.assert_close(passes * loss.detach(), expected["loss"][index, micro], atol=1e-5, rtol=0)
            ratio = expected["ratio"][index, rows][part.counted_Nn]
            torch.testing.assert_close(values["ratio"], ratio, atol=2e-4, rtol=2e-4)
            if official["beta"]:
                kl = expected["k3_kl"][index, rows][part.counted_Nn]
                torch.testing.assert_close(values["kl"], kl, atol=2e-4, rtol=2e-4)
            norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
            torch.testing.assert_close(norm, expected["grad_norm"][index, micro], atol=0, rtol=1e-4)
            ln_f = weights["model.norm.weight"].grad
            torch.testing.assert_close(ln_f, expected["grad_ln_f"][index, micro], atol=5e-5, rtol=0)
            if (index, micro) == (0, 0) and "grad_block1_q_proj_it0_a0" in expected:
                q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
                torch.testing.assert_close(q_proj, expected["grad_block1_q_proj_it0_a0"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(prepared_case, golden, golden_json, golden_rewards, name):
    official, method, _, prepared, _ = prepared_case(name)
    meta, tensors = golden_json(f"{FILE}.json"), golden(f"{FILE}.safetensors")
    expected, config = of_config(golden(f"{FILE}.f64.safetensors"), name), method.config
    reward_B = golden_rewards(tensors, meta, official["rewards"])
    advantage_B = module.advantages(reward_B, meta["num_generations"], config)
    torch.testing.assert_close(advantage_B, expected["advantages"], atol=1e-8, rtol=0)
    passes = official["gradient_accumulation_steps"]
    for index, update in enumerate(prepared.updates):
        new_BC = expected["new_per_token_logps"][index]
        old_BC = new_BC if official["num_iterations"] == 1 else expected["old_per_token_logps"][index]
        for micro in range(passes):
            rows = slice(micro * 6 // passes, (micro + 1) * 6 // passes)
            part = update.parts[0].rows(rows)
            reference_BC = expected["ref_per_token_logps"][index, rows] if config.beta else None
            changes = {"old_logprob_Nn": old_BC[rows], "advantage_N": advantage_B[rows]}
            exact = {"weight_N": torch.ones(len(new_BC[rows]), dtype=torch.float64)}
            part = dataclasses.replace(part, **changes, **exact, normaliser=float(part.counted_Nn.sum()))
            clips = {"clip_low": config.clip, "clip_high": config.clip}
            loss, values = token_loss(new_BC[rows], lambda ref=reference_BC: ref, part, **clips, beta=config.beta)
            torch.testing.assert_close(loss, expected["loss"][index, micro], atol=1e-8, rtol=0)
            ratio = expected["ratio"][index, rows][part.counted_Nn]
            torch.testing.assert_close(values["ratio"], ratio, atol=1e-8, rtol=0)
