"""TraceRL against the official training script: advantages, merged steps, states and targets, log-probabilities, loss,
gradients."""

import dataclasses
import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.states import state_tokens

CONFIGS = [
    "shrink1",
    "shrink2_eps002",
    "shrink4_b0_eps005",
    "shrink3_k1",
    "shrink8_all_ends",
    "shrink2_first_end_zero_variance",
    "random_masking",
    "coupled",
]
FILE = "loss/tracerl"
STATES = {"TraceRL": "trajectory", "random_masking": "random", "coupled": "coupled"}
module = sys.modules[get_method("tracerl").__module__]


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json(f"{FILE}.json")["configs"]] == CONFIGS


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def official_draws(official, expected, meta):
    """Masks (B, M, C) of random states; those that gave no state are empty. Of pairs, the first of each."""
    if official["method"] == "TraceRL":
        return None
    is_masked_NC = expected["noisy_ids"][:, meta["prompt_len"] :] == meta["mask_id"]
    draws, step = torch.zeros(6, 2, 16, dtype=torch.bool), 2 if official["method"] == "coupled" else 1
    for row in range(6):
        own_MC = is_masked_NC[expected["state_row"] == row][::step]
        draws[row, : len(own_MC)] = own_MC
    return draws


@pytest.fixture(scope="module")
def prepared_case(golden, golden_json, golden_model, golden_scored):
    """By configuration: method, current policy, the part prepared by the old policy, what the official code gave."""
    meta, tensors = golden_json(f"{FILE}.json"), golden(f"{FILE}.safetensors")
    made = {}

    def case(name):
        if name not in made:
            official = next(config for config in meta["configs"] if config["name"] == name)
            config = module.TraceRlConfig(
                states=STATES[official["method"]],
                shrink=official["shrink"],
                draws=official["mask_times_per_sample"],
                min_rate=official["lower_p"],
                max_rate=official["upper_p"],
                post_num=-1 if official["post_num"] is None else official["post_num"],
                clip=official["eps"],
                kl="k3" if official["use_kl_estimator_k3"] else "k1",
                beta=official["beta"],
            )
            method, expected = module.TraceRl(config=config), of_config(tensors, name)
            scored = golden_scored(tensors, meta, expected["correct"].double(), tensors["unmask_step"])
            draws = official_draws(official, expected, meta)
            (update,) = method.prepare(scored, golden_model("llada_tiny_old"), None, draws).updates
            (part,) = update.parts
            assert part.num_rows == part.normaliser == official["num_states"]
            made[name] = method, golden_model("llada_tiny"), part, expected
        return made[name]

    return case


def asked(value_NC, part):
    """The values of the tokens that the states ask for (N, n)."""
    return value_NC.gather(1, part.position_Nn)


@pytest.mark.parametrize("name", CONFIGS)
def test_states_targets_advantages_and_old_log_probabilities_are_the_official_ones(prepared_case, name):
    _, _, part, expected = prepared_case(name)
    assert torch.equal(part.row_N, expected["state_row"])
    assert torch.equal(state_tokens(part), expected["noisy_ids"])
    target_NC = torch.zeros(expected["target_mask"].shape, dtype=torch.bool)
    target_NC.scatter_(1, part.position_Nn, part.counted_Nn)
    assert torch.equal(target_NC, expected["target_mask"])
    torch.testing.assert_close(part.advantage_N, expected["advantages"][part.row_N], atol=1e-6, rtol=0)
    counted = part.counted_Nn
    old = asked(expected["old_per_token_logps"], part)[counted]
    torch.testing.assert_close(part.old_logprob_Nn[counted], old, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("shrink")])
def test_steps_are_merged_as_in_the_official_code(prepared_case, golden, name):
    method, _, _, expected = prepared_case(name)
    steps = golden(f"{FILE}.safetensors")["unmask_step"]
    run_BC = module.runs(steps, method.config.shrink, 8)
    for run_C, collapsed_C, step_C in zip(run_BC, expected["collapsed_step"], steps, strict=True):
        last = {int(run): int(step_C[run_C == run].max()) for run in run_C}
        assert [last[int(run)] for run in run_C] == collapsed_C.tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_losses_and_gradients_are_the_official_ones(prepared_case, name):
    method, model, part, expected = prepared_case(name)
    weights = dict(model.predictor.model.named_parameters())
    model.predictor.zero_grad()
    loss, _ = method.loss(model, part)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected["loss"][0], atol=1e-5, rtol=0)
    norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
    torch.testing.assert_close(norm, expected["grad_norm"][0], atol=0, rtol=1e-4)
    torch.testing.assert_close(weights["model.norm.weight"].grad, expected["grad_ln_f"], atol=5e-5, rtol=0)
    if "grad_block1_q_proj" in expected:
        q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
        torch.testing.assert_close(q_proj, expected["grad_block1_q_proj"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(prepared_case, golden, name):
    method, _, part, integers = prepared_case(name)
    expected = of_config(golden(f"{FILE}.f64.safetensors"), name)
    advantage_B = module.z_scores(integers["correct"].double(), 3)
    torch.testing.assert_close(advantage_B, expected["advantages"], atol=1e-8, rtol=0)
    exact = dataclasses.replace(
        part,
        old_logprob_Nn=asked(expected["old_per_token_logps"], part),
        advantage_N=advantage_B[part.row_N],
        weight_N=1 / part.counted_Nn.sum(1).double(),
    )
    loss, _ = module.trace_loss(asked(expected["new_per_token_logps"], part), exact, method.config)
    torch.testing.assert_close(loss, expected["loss"][0], atol=1e-8, rtol=0)
