"""EGSPO and EGSPO-SA against the official trainer: chosen steps, advantages, log-probabilities, ratio, KL, loss,
gradients."""

import sys
from types import SimpleNamespace

import pytest
import torch

from harness.diffusion import categorical
from harness.registry import get_method
from harness.rl.policy_loss import k3
from harness.rl.step_selection import last_real_step
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

CONFIGS = [
    "egspo_beta0",
    "egspo_k3",
    "egspo_exactkl",
    "egspo_mean_k3",
    "egspo_mean_exactkl",
    "sa_norm_exactkl",
    "sa_norm_k3",
    "sa_nonorm_beta0",
    "sa_nonorm_mean_k3",
    "sa_norm_mean_exactkl",
    "uniform_beta0",
    "uniform_sa_norm_exactkl",
    "uniform_lasteos_sa",
    "entropy_lasteos_sa",
    "sa_standard_grpo_returns",
    "sa_correctness_step_only",
    "egspo_wide_clip_sym",
    "egspo_tight_clip",
]
WEIGHTS = {"format": 1.0, "correctness": 0.5}


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json("loss/egspo.json")["configs"]] == CONFIGS


def egspo(official):
    """Our method with an official configuration."""
    config = get_method("egspo-sa").Config(
        num_selected=official["logps_eval_num_steps"],
        selection={"high_entropy": "entropy", "uniform": "uniform"}[official["logps_eval_time_steps_mode"]],
        until_last_non_eos=official["terminate_at_last_non_eos"],
        aggregation=official["logps_aggregation_mode"],
        clip_low=official["epsilon"],
        clip_high=official["epsilon_high"],
        beta=official["beta"],
        kl="exact" if official["use_exact_kl"] else "k3",
        stepwise_lambda=official["lambda1"],
        normalize_returns=official["normalize_returns"],
        correctness_only=official["correctness_step_reward_only"],
        stepwise_after_baseline=official["standard_grpo_returns"],
    )
    return get_method("egspo-sa")(config=config)


def recorded_rollout(trajectory, meta, model):
    """The golden trajectory as a Rollout; every token of a step carries the step's mean entropy."""
    step_BC = trajectory["unmask_step"]
    prompt_length, steps = meta["prompt_len"], meta["diffusion_steps"]
    logprob_BC = torch.zeros(step_BC.shape)
    for step in range(steps):
        logprob_BC[step_BC == step] = trajectory["unmasked_token_logps_old"][step].flatten()
    final_BL, rows = trajectory["trajectory_ids"][-1], step_BC.shape[0]
    return Rollout(
        prompts=Prompts(ids_BP=final_BL[:, :prompt_length], mask_BP=None),
        completion_ids_BC=final_BL[:, prompt_length:],
        unmask_step_BC=step_BC.to(torch.int16),
        logprob_BC=logprob_BC,
        entropy_BC=trajectory["step_entropy_old"].gather(1, step_BC),
        num_steps_B=torch.full((rows,), steps, dtype=torch.int16),
        num_steps=steps,
        mask_id=model.special.mask_id,
        argmax_BTC=trajectory["greedy_completions"][:-1, :, prompt_length:].transpose(0, 1).int(),
    )


def table_rewards(trajectory, columns):
    parts = {name: trajectory[f"reward_{name}"][:, columns].nan_to_num() for name in WEIGHTS}
    return Rewards(total_B=sum(WEIGHTS[name] * part for name, part in parts.items()), parts=parts)


@pytest.fixture
def prepared(request, golden, golden_json, golden_model):
    official = next(c for c in golden_json("loss/egspo.json")["configs"] if c["name"] == request.param)
    meta, trajectory = golden_json("loss/egspo_trajectory.json"), golden("loss/egspo_trajectory.safetensors")
    model = golden_model("llada_tiny", reference="llada_tiny_ref")
    rollout = recorded_rollout(trajectory, meta, model)
    scored = ScoredRollouts(rollout=rollout, rewards=table_rewards(trajectory, -1), group_size=meta["num_generations"])

    def score(row_N, completion_ids_NC):
        flat = table_rewards(trajectory, slice(0, -1))
        return flat.reshape(-1)

    method = egspo(official)
    expected = {
        name.partition("/")[2]: value
        for name, value in golden("loss/egspo.safetensors").items()
        if name.startswith(request.param + "/")
    }
    steps_BK = method.draw(scored, model, torch.Generator())
    return method, model, method.prepare(scored, model, score, steps_BK), expected


def slots_in_order(prepared):
    """Slots 0..K-1; updates come in the official order 1, .., K-1, 0."""
    slots = [part for update in prepared.updates for part in update.parts]
    return [slots[-1], *slots[:-1]]


@pytest.mark.parametrize("prepared", CONFIGS, indirect=True)
def test_chosen_steps_and_advantages_are_the_official_ones(prepared):
    _, _, ours, expected = prepared
    assert torch.equal(ours.chosen.step_BK, expected["eval_time_steps"])
    slots = slots_in_order(ours)
    advantage_BK = torch.stack([slot.advantage_B for slot in slots], 1)
    torch.testing.assert_close(advantage_BK, expected["advantages_per_step"], atol=1e-6, rtol=0)
    old_KB = torch.stack([slot.old_logprob_B for slot in slots])
    torch.testing.assert_close(old_KB, expected["old_step_logps"], atol=1e-4, rtol=0)


def official_clip_ratio(ratio_B, slot, config):
    """What the official code logs: where the unclipped term is the smaller one, the reverse of clipping being
    active."""
    clipped_B = ratio_B.clamp(1 - config.clip_low, 1 + config.clip_high)
    return (ratio_B * slot.advantage_B < clipped_B * slot.advantage_B).double().mean()


@pytest.mark.parametrize("prepared", CONFIGS, indirect=True)
def test_losses_ratios_and_gradients_are_the_official_ones(prepared):
    method, model, ours, expected = prepared
    weights = dict(model.predictor.model.named_parameters())
    for k, slot in enumerate(slots_in_order(ours)):
        model.predictor.zero_grad()
        loss, values = method.loss(model, slot)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss"][k], atol=2e-5, rtol=0)
        torch.testing.assert_close(values["ratio"], expected["ratio"][k], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(official_clip_ratio(values["ratio"], slot, method.config), expected["clip_ratio"][k])
        norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
        torch.testing.assert_close(norm, expected["grad_norm"][k], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(weights["model.norm.weight"].grad, expected["grad_ln_f"][k], atol=2e-5, rtol=0)
        if k == 0:
            q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
            torch.testing.assert_close(q_proj, expected["grad_block1_q_proj_slot0"], atol=2e-5, rtol=0)
        if "metric_kl" in expected:
            official = expected["exact_kl" if method.config.kl == "exact" else "k3_kl"][k]
            torch.testing.assert_close(values["kl"], official, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("prepared", ["sa_norm_k3", "egspo_exactkl"], indirect=True)
def test_micro_batches_add_up_to_the_whole_loss(prepared):
    method, model, ours, expected = prepared
    slot = slots_in_order(ours)[2]
    pieces = sum(method.loss(model, part)[0] for part in slot.split(4))
    torch.testing.assert_close(pieces, expected["loss"][2], atol=2e-5, rtol=0)


@pytest.mark.parametrize("prepared", ["sa_norm_k3"], indirect=True)
def test_two_slots_in_one_update_average_their_losses_in_the_official_order(prepared):
    method, model, ours, expected = prepared
    slots = [part for update in ours.updates for part in update.parts]
    leaf = sys.modules[type(method).__module__]
    for first, orders in ((0, (1, 2)), (2, (3, 0))):
        pooled = sum(method.loss(model, part)[0] for part in leaf.average(slots[first : first + 2]).parts)
        torch.testing.assert_close(pooled, expected["loss"][list(orders)].mean(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_in_float64_is_the_official_one_to_a_hundred_millionth(golden, golden_json, name):
    official = next(config for config in golden_json("loss/egspo.json")["configs"] if config["name"] == name)
    tokens_per_step = golden_json("loss/egspo_trajectory.json")["tokens_per_step"]
    arrays = golden("loss/egspo.f64.safetensors")
    case = {key.partition("/")[2]: value for key, value in arrays.items() if key.startswith(name + "/")}
    config, leaf = egspo(official).config, sys.modules[get_method("egspo").__module__]
    new_KB, old_KB = case["new_step_logps"], case["old_step_logps"]
    kl_KB = torch.zeros_like(new_KB)
    if config.beta:
        kl_KB = case["exact_kl"] if config.kl == "exact" else k3(new_KB, case["ref_step_logps"])
    rows = new_KB.shape[1]
    normaliser = rows * (tokens_per_step if config.aggregation == "sum" else 1)
    slot = SimpleNamespace(weight_B=torch.ones(rows, dtype=torch.float64), normaliser=normaliser)
    for k in range(len(new_KB)):
        advantage_B = case["advantages_per_step"][:, k]
        loss, clipped = leaf.slot_loss(new_KB[k], old_KB[k], advantage_B, kl_KB[k], slot, config)
        torch.testing.assert_close(loss, case["loss"][k], atol=1e-8, rtol=0)
        torch.testing.assert_close(clipped.ratio, case["ratio"][k], atol=1e-8, rtol=0)
        if config.beta and config.kl == "k3":
            torch.testing.assert_close(kl_KB[k], case["k3_kl"][k], atol=1e-8, rtol=0)


@torch.no_grad()
def test_the_recorded_trajectory_has_the_official_log_probabilities_and_entropies(golden, golden_json, golden_model):
    trajectory, meta = golden("loss/egspo_trajectory.safetensors"), golden_json("loss/egspo_trajectory.json")
    model = golden_model("llada_tiny_old")
    rollout = recorded_rollout(trajectory, meta, model)
    rows = rollout.num_rows
    places = torch.arange(rollout.completion_length).expand(rows, -1) + meta["prompt_len"]
    for step in range(meta["diffusion_steps"]):
        step_B = torch.full((rows,), step)
        tokens_BL, mask_BL = rollout.state_at(step_B)
        assert torch.equal(tokens_BL, trajectory["trajectory_ids"][step])
        logits = model.logits(tokens_BL, mask_BL, places)
        revealed = rollout.revealed_at(step_B)
        logprob = logits.log_softmax(-1).gather(-1, rollout.completion_ids_BC[:, :, None])[:, :, 0]
        expected = trajectory["unmasked_token_logps_old"][step]
        torch.testing.assert_close(logprob[revealed].view(rows, -1), expected, atol=1e-4, rtol=0)
        entropy = categorical.entropy(logits.flatten(0, 1)).view(rows, -1)
        mean = entropy[revealed].view(rows, -1).mean(1)
        torch.testing.assert_close(mean, trajectory["step_entropy_old"][:, step], atol=1e-4, rtol=0)
    last_B = last_real_step(rollout.unmask_step_BC, model.is_end(rollout.completion_ids_BC), rollout.num_steps)
    assert torch.equal(last_B, trajectory["last_non_eos_steps"])
