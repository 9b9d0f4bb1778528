"""ESPO against the official trainer: mask counts, advantages, ELBOs, ratio, KL, loss, gradients."""

import sys

import pytest
import torch

from harness.diffusion import elbo
from harness.registry import get_method
from harness.rl.policy_loss import k2, k3
from harness.rl.sequence_level import ScoredInputs
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

CONFIGS = ["coupled_b001", "coupled_b0", "coupled_b01_tight_scale", "single_b001", "single_b01_tight"]
ACCUMULATION = 2


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    meta = golden_json("loss/espo.json")
    assert [config["name"] for config in meta["configs"]] == CONFIGS
    assert meta["gradient_accumulation_steps"] == ACCUMULATION


def espo(official, meta):
    """Our method with an official configuration."""
    config = get_method("espo").Config(
        inner_updates=meta["num_iterations"],
        mc_samples=meta["num_mc"],
        coupled=official["reduce_var"],
        clip_low=official["epsilon_low"],
        clip_high=official["epsilon_high"],
        beta=official["beta"],
        scale_rewards=official["scale_rewards"],
    )
    return get_method("espo")(config=config)


def scored_rollout(tensors, meta):
    """The golden completions; ESPO does not ask how they came about."""
    prompt_length, ids_BL = meta["prompt_len"], tensors["prompt_completion_ids"]
    completion_BC = ids_BL[:, prompt_length:]
    rollout = Rollout(
        prompts=Prompts(ids_BP=ids_BL[:, :prompt_length], mask_BP=None),
        completion_ids_BC=completion_BC,
        unmask_step_BC=torch.zeros_like(completion_BC, dtype=torch.int16),
        logprob_BC=torch.zeros(completion_BC.shape),
        entropy_BC=torch.zeros(completion_BC.shape),
        num_steps_B=torch.ones(len(ids_BL), dtype=torch.int16),
        num_steps=1,
        mask_id=meta["mask_id"],
    )
    rewards = Rewards(total_B=tensors["rewards"].float(), parts={})
    return ScoredRollouts(rollout=rollout, rewards=rewards, group_size=meta["num_generations"])


def official_masks(tensors, meta):
    """Masks (B, U, M, C); the official code keeps them per micro-batch of three rows."""
    is_masked_AUMRC = tensors["perturbed_ids"][..., meta["prompt_len"] :] == meta["mask_id"]
    return is_masked_AUMRC.permute(0, 3, 1, 2, 4).flatten(0, 1)


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


@pytest.fixture
def case(request, golden, golden_json, golden_model):
    """Method, current policy, the updates prepared by the old policy, and what the official code returned."""
    meta, tensors = golden_json("loss/espo.json"), golden("loss/espo.safetensors")
    method = espo(next(config for config in meta["configs"] if config["name"] == request.param), meta)
    model = golden_model("llada_tiny", reference="llada_tiny_ref")
    prepared = method.prepare(
        scored_rollout(tensors, meta), golden_model("llada_tiny_old"), None, official_masks(tensors, meta)
    )
    return method, model, prepared, of_config(tensors, request.param), tensors


@pytest.mark.parametrize("case", CONFIGS, indirect=True)
def test_inputs_advantages_and_old_elbos_are_the_official_ones(case):
    method, _, prepared, expected, tensors = case
    torch.testing.assert_close(prepared.advantages, expected["advantages"], atol=1e-6, rtol=1e-6)
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        torch.testing.assert_close(part.old_score_BS[:, 0], expected["old_elbo"][:, index], atol=2e-4, rtol=0)
        if method.config.coupled:
            pairs = torch.stack([tensors["perturbed_ids"], tensors["coupled_perturbed_ids"]], 3)[:, index]
            inputs_BDL = pairs.permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)
            assert torch.equal(part.tokens_BDL, inputs_BDL)


@pytest.mark.parametrize("case", CONFIGS, indirect=True)
def test_losses_ratios_and_gradients_are_the_official_ones(case):
    method, model, prepared, expected, _ = case
    weights = dict(model.predictor.model.named_parameters())
    for index, update in enumerate(prepared.updates):
        # Each official micro-batch is normalised alone: ours are its share of the whole batch.
        (whole,) = update.parts
        for micro, part in enumerate(whole.split(3 * whole.sequences_per_row)):
            model.predictor.zero_grad()
            loss, values = method.loss(model, part)
            loss = ACCUMULATION * loss
            loss.backward()
            rows = slice(3 * micro, 3 * micro + 3)
            torch.testing.assert_close(loss.detach(), expected["loss"][index, micro], atol=2e-5, rtol=0)
            torch.testing.assert_close(values["ratio"], expected["ratio"][rows, index], atol=1e-4, rtol=1e-4)
            if "k2" in expected:
                torch.testing.assert_close(values["kl"], expected["k2"][rows, index], atol=2e-3, rtol=1e-4)
            norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
            torch.testing.assert_close(norm, expected["grad_norm"][index, micro], atol=0, rtol=1e-4)
            ln_f = weights["model.norm.weight"].grad
            torch.testing.assert_close(ln_f, expected["grad_ln_f"][index, micro], atol=2e-5, rtol=0)
            if (index, micro) == (0, 0):
                q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
                torch.testing.assert_close(q_proj, expected["grad_block1_q_proj_it0_a0"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, golden, golden_json):
    meta, tensors = golden_json("loss/espo.json"), golden("loss/espo.safetensors")
    expected = of_config(golden("loss/espo.f64.safetensors"), name)
    method = espo(next(config for config in meta["configs"] if config["name"] == name), meta)
    module = sys.modules[type(method).__module__]
    torch.testing.assert_close(
        module.advantages(tensors["rewards"], meta["num_generations"], method.config), expected["advantages"]
    )
    completion_BC = tensors["completion_ids"]
    for index in range(meta["num_iterations"]):
        for micro in range(ACCUMULATION):
            rows = slice(3 * micro, 3 * micro + 3)
            new_B = expected["new_elbo"][rows, index]
            kl_B = k2(new_B, expected["ref_elbo"][rows, index]) if method.config.beta else torch.zeros_like(new_B)
            part = ScoredInputs(
                tokens_BDL=completion_BC[rows, None],
                mask_BL=None,
                target_BC=completion_BC[rows],
                weight_BDC=torch.zeros(3, 1, 16),
                old_score_BS=expected["old_elbo"][rows, index, None],
                advantage_B=expected["advantages"][rows],
                length_B=torch.full((3,), 16.0, dtype=torch.float64),
                normaliser=3,
            )
            loss, clipped = module.sequence_loss(new_B[:, None], kl_B[:, None], part, method.config)
            torch.testing.assert_close(loss, expected["loss"][index, micro], atol=1e-8, rtol=0)
            torch.testing.assert_close(clipped.ratio[:, 0], expected["ratio"][rows, index], atol=1e-8, rtol=0)


def test_weights_are_one_over_the_masked_fraction_of_length_plus_one(golden, golden_json):
    meta, tensors = golden_json("loss/espo.json"), golden("loss/espo.safetensors")
    p_BUM = tensors["p_mask"].permute(0, 3, 1, 2).flatten(0, 1).double()
    is_masked_BUMC = official_masks(tensors, meta)
    weight_BUMC = elbo.elbo_weights(is_masked_BUMC)
    assert (weight_BUMC[~is_masked_BUMC] == 0).all()
    official_BUMC = (1 / p_BUM)[..., None].expand(weight_BUMC.shape)
    torch.testing.assert_close(weight_BUMC[is_masked_BUMC], official_BUMC[is_masked_BUMC], atol=0, rtol=1e-6)


def test_mask_counts_go_round_the_grid_as_in_the_official_table(golden_json):
    table = golden_json("loss/espo.json")["forward_process_table_b5_L12"]
    assert len(table) == 40
    for row in table:
        counts = row["masked_per_row"]
        assert elbo.evenly_spaced_counts(5, 12, counts[0]).tolist() == counts


@pytest.mark.parametrize(("name", "estimator"), [("k2", k2), ("k3", k3)])
def test_kl_estimators_and_their_gradients_are_the_official_ones(golden_json, name, estimator):
    example = golden_json("loss/espo.json")["approx_kl_example"]
    new = torch.tensor(example["log_probs"], requires_grad=True)
    value = estimator(new, torch.tensor(example["log_probs_base"]))
    value.sum().backward()
    torch.testing.assert_close(value.detach(), torch.tensor(example[name]["value"]), atol=1e-6, rtol=0)
    torch.testing.assert_close(new.grad, torch.tensor(example[name]["grad"]), atol=1e-6, rtol=0)
