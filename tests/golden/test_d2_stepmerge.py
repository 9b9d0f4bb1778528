"""d2-StepMerge against the official trainer: advantages, segments and their inputs, log-probabilities, ratios, KL,
losses and gradients of every micro-step."""

import dataclasses
import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.states import state_tokens
from harness.rl.token_level import token_loss

CONFIGS = ["n4", "n8_p0", "n3_eps002", "n1", "n4_b0_zero_variance", "n2_eps005_p030"]
FILE = "loss/d2_stepmerge"
module = sys.modules[get_method("d2-stepmerge").__module__]


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json(f"{FILE}.json")["configs"]] == CONFIGS


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def segments_of(part, expected):
    """By segment of the official code: its states among ours, and their rows."""
    first_N = part.position_Nn[:, 0]
    for segment_BC in expected["segment_masks"].bool():
        yield part.rows(segment_BC[part.row_N, first_N] & part.counted_Nn[:, 0])


def asked(value_BC, part):
    """The values of the tokens that the states of the part ask for (N, n)."""
    return value_BC[part.row_N].gather(1, part.position_Nn)


@pytest.fixture(scope="module")
def prepared_case(golden, golden_json, golden_model, golden_scored, golden_rewards):
    """By configuration: method, current policy, the updates prepared by the old policy, what the official code
    returned."""
    meta, tensors = golden_json(f"{FILE}.json"), golden(f"{FILE}.safetensors")
    made = {}

    def case(name):
        if name not in made:
            official = next(config for config in meta["configs"] if config["name"] == name)
            config = module.D2StepMergeConfig(
                segments=official["N"],
                inner_updates=official["num_iterations"],
                p_mask_prompt=official["p_mask_prompt"],
                clip=official["epsilon"],
                beta=official["beta"],
            )
            method, expected = module.D2StepMerge(config=config), of_config(tensors, name)
            scored = golden_scored(
                tensors, meta, golden_rewards(tensors, meta, official["rewards"]), tensors["unmask_step"]
            )
            assert scored.rollout.num_steps == official["steps"]
            is_masked_UBP = expected["perturbed_ids"][:, 0, :, : meta["prompt_len"]] == meta["mask_id"]
            # On policy the official code takes the new log-probabilities for the old ones.
            old = golden_model("llada_tiny" if official["num_iterations"] == 1 else "llada_tiny_old")
            prepared = method.prepare(scored, old, None, is_masked_UBP.transpose(0, 1))
            made[name] = method, golden_model("llada_tiny", reference="llada_tiny_ref"), prepared, expected
        return made[name]

    return case


@pytest.mark.parametrize("name", CONFIGS)
def test_inputs_advantages_and_old_log_probabilities_are_the_official_ones(prepared_case, name):
    method, _, prepared, expected = prepared_case(name)
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    old = expected["old_per_token_logps" if method.config.inner_updates > 1 else "new_per_token_logps"]
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        for segment, states in enumerate(segments_of(part, expected)):
            assert torch.equal(state_tokens(states), expected["perturbed_ids"][index, segment][states.row_N])
        counted = part.counted_Nn
        torch.testing.assert_close(part.old_logprob_Nn[counted], asked(old[index], part)[counted], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_ratios_and_gradients_of_every_micro_step_are_the_official_ones(prepared_case, name):
    method, model, prepared, expected = prepared_case(name)
    weights, number = dict(model.predictor.model.named_parameters()), method.config.segments
    for index, update in enumerate(prepared.updates):
        total = torch.zeros(64, 64)
        for segment, part in enumerate(segments_of(update.parts[0], expected)):
            model.predictor.zero_grad()
            loss, values = method.loss(model, part)
            # Micro-steps are averaged there and added up here.
            (number * loss).backward()
            torch.testing.assert_close(number * loss.detach(), expected["loss"][index, segment], atol=1e-5, rtol=0)
            ratio = asked(expected["ratio"][index], part)[part.counted_Nn]
            torch.testing.assert_close(values["ratio"], ratio, atol=1e-4, rtol=1e-4)
            if method.config.beta:
                kl = asked(expected["k3_kl"][index], part)[part.counted_Nn]
                torch.testing.assert_close(values["kl"], kl, atol=2e-4, rtol=1e-4)
            norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
            torch.testing.assert_close(norm, expected["grad_norm"][index, segment], atol=0, rtol=1e-4)
            ln_f = weights["model.norm.weight"].grad
            torch.testing.assert_close(ln_f, expected["grad_ln_f"][index, segment], atol=5e-5, rtol=0)
            total += weights["model.layers.1.self_attn.q_proj.weight"].grad
        if index == 0 and "grad_block1_q_proj_it0_sum" in expected:
            torch.testing.assert_close(total, expected["grad_block1_q_proj_it0_sum"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(prepared_case, golden, name):
    method, _, prepared, integers = prepared_case(name)
    expected, config = of_config(golden(f"{FILE}.f64.safetensors"), name), method.config
    torch.testing.assert_close(prepared.advantages.double(), expected["advantages"], atol=1e-8, rtol=0)
    for index, update in enumerate(prepared.updates):
        new_BC = expected["new_per_token_logps"][index]
        old_BC = new_BC if config.inner_updates == 1 else expected["old_per_token_logps"][index]
        for segment, part in enumerate(segments_of(update.parts[0].of_dtype(torch.float64), integers)):
            exact = dataclasses.replace(
                part, old_logprob_Nn=asked(old_BC, part), advantage_N=expected["advantages"][part.row_N]
            )
            reference = lambda part=part: asked(expected["ref_per_token_logps"][index], part)  # noqa: B023, E731
            clips = {"clip_low": config.clip, "clip_high": config.clip}
            loss, values = token_loss(asked(new_BC, part), reference, exact, **clips, beta=config.beta)
            torch.testing.assert_close(config.segments * loss, expected["loss"][index, segment], atol=1e-8, rtol=0)
            ratio = asked(expected["ratio"][index], part)[part.counted_Nn]
            torch.testing.assert_close(values["ratio"], ratio, atol=1e-8, rtol=0)
