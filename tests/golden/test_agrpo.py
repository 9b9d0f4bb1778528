"""AGRPO against the official trainer: drawn steps, weights, sampled log-probabilities, loss, gradients."""

import sys

import pytest
import torch

from harness.registry import get_method
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

CONFIGS = [
    "uniform_b0",
    "uniform_b004",
    "uniform_iid_b0",
    "entropy_b0",
    "entropy_b004",
    "entropy_iid_b01",
    "entropy_tight_mc1",
    "uniform_mc8_b004",
]


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json("loss/agrpo.json")["configs"]] == CONFIGS


def agrpo(official):
    """Our method with an official configuration."""
    config = get_method("agrpo").Config(
        mc_samples=official["mc_samples"],
        importance=official["importance_sampling"],
        draws="low-discrepancy" if official["low_discrepancy"] else "independent",
        clip_low=official["epsilon_low"],
        clip_high=official["epsilon_high"],
        beta=official["beta"],
    )
    return get_method("agrpo")(config=config)


def support_ids(is_kept_BCV):
    """Bool masks over the vocabulary as token ids, padded with -1."""
    ids = torch.arange(is_kept_BCV.shape[2], dtype=torch.int32)
    sorted_BCV = torch.where(is_kept_BCV, ids, is_kept_BCV.shape[2]).sort(-1).values
    width = int(is_kept_BCV.sum(-1).max())
    support_BCk = sorted_BCV[:, :, :width]
    return torch.where(support_BCk == is_kept_BCV.shape[2], -1, support_BCk)


def scored_rollout(tensors, meta):
    """The golden trajectory with what was recorded of the sampled distribution; two rows ended early."""
    rows = len(tensors["sequence_ids"])
    filler_BC = tensors["sampling_masks"].all(-1)
    rollout = Rollout(
        prompts=Prompts(ids_BP=tensors["prompt_ids"], mask_BP=None),
        completion_ids_BC=tensors["completion_ids"],
        unmask_step_BC=torch.where(filler_BC, meta["sampling_steps"], tensors["unmask_steps"]).to(torch.int16),
        logprob_BC=torch.full(tensors["completion_ids"].shape, torch.nan),
        entropy_BC=torch.full(tensors["completion_ids"].shape, torch.nan),
        num_steps_B=torch.full((rows,), meta["sampling_steps"], dtype=torch.int16),
        num_steps=meta["sampling_steps"],
        mask_id=meta["mask_id"],
        behaviour_logprob_BC=tensors["old_token_logps"],
        behaviour_entropy_BC=tensors["old_token_entropies"],
        support_ids_BCk=support_ids(tensors["sampling_masks"] & ~filler_BC[:, :, None]),
        temperature=meta["temperature"],
    )
    rewards = Rewards(total_B=tensors["rewards_per_func"].nan_to_num().sum(1), parts={})
    return ScoredRollouts(rollout=rollout, rewards=rewards, group_size=meta["num_generations"])


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


@pytest.fixture
def case(request, golden, golden_json, golden_model):
    meta, tensors = golden_json("loss/agrpo.json"), golden("loss/agrpo.safetensors")
    method = agrpo(next(config for config in meta["configs"] if config["name"] == request.param))
    model = golden_model("llada_tiny", reference="llada_tiny_ref")
    expected = of_config(tensors, request.param)
    prepared = method.prepare(scored_rollout(tensors, meta), model, None, expected["u"])
    return method, model, prepared, expected, tensors


@pytest.mark.parametrize("case", CONFIGS, indirect=True)
def test_steps_weights_and_inputs_are_the_official_ones(case):
    _, _, prepared, expected, tensors = case
    torch.testing.assert_close(prepared.advantages, tensors["advantages"], atol=1e-6, rtol=0)
    assert torch.equal(prepared.chosen.step_BK, expected["mc_steps"])
    (update,) = prepared.updates
    prompt_length = tensors["prompt_ids"].shape[1]
    for index, part in enumerate(update.parts):
        assert torch.equal(part.tokens_BL, expected["mc_input_ids"][:, index])
        assert torch.equal(part.position_Bn, expected["unmask_positions"][:, index] + prompt_length)
        assert part.is_revealed_Bn.all()
        weight_B = expected.get("importance_weights", torch.ones_like(expected["u"]))[:, index]
        torch.testing.assert_close(part.importance_B, weight_B, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("case", CONFIGS, indirect=True)
def test_losses_ratios_and_gradients_are_the_official_ones(case):
    method, model, prepared, expected, _ = case
    weights = dict(model.predictor.model.named_parameters())
    for index, part in enumerate(prepared.updates[0].parts):
        loss, values = method.loss(model, part)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss_per_mc_sample"][index], atol=2e-5, rtol=0)
        torch.testing.assert_close(values["ratio"], expected["ratio"][:, index].flatten(), atol=1e-4, rtol=1e-4)
        if method.config.beta:
            weighted = values["kl"] * values["ratio"]
            torch.testing.assert_close(weighted, expected["kl_times_ratio"][:, index].flatten(), atol=2e-4, rtol=1e-4)
    norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
    torch.testing.assert_close(norm, expected["grad_norm"][0], atol=0, rtol=1e-4)
    torch.testing.assert_close(weights["model.norm.weight"].grad, expected["grad_ln_f"], atol=2e-5, rtol=0)
    q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
    torch.testing.assert_close(q_proj, expected["grad_block1_q_proj"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("case", ["entropy_b004"], indirect=True)
def test_micro_batches_add_up_to_the_whole_loss(case):
    method, model, prepared, expected, _ = case
    for index, part in enumerate(prepared.updates[0].parts):
        pieces = sum(method.loss(model, piece)[0] for piece in part.split(4))
        torch.testing.assert_close(pieces, expected["loss_per_mc_sample"][index], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, golden, golden_json):
    meta, tensors = golden_json("loss/agrpo.json"), golden("loss/agrpo.safetensors")
    double = golden("loss/agrpo.f64.safetensors")
    expected = of_config(tensors, name) | of_config(double, name)
    method = agrpo(next(config for config in meta["configs"] if config["name"] == name))
    module = sys.modules[type(method).__module__]
    weight_BM = expected.get("importance_weights", torch.ones_like(expected["u"]))
    for index in range(method.config.mc_samples):
        new_Bn, old_Bn = expected["new_logps"][:, index], expected["old_logps"][:, index]
        kl_Bn = module.k3(new_Bn, expected["ref_logps"][:, index]) if method.config.beta else torch.zeros_like(new_Bn)
        part = module.Draw(
            tokens_BL=expected["mc_input_ids"][:, index],
            mask_BL=None,
            position_Bn=expected["unmask_positions"][:, index],
            target_Bn=expected["unmask_positions"][:, index],
            is_revealed_Bn=torch.ones_like(new_Bn, dtype=torch.bool),
            support_Bnk=None,
            old_logprob_Bn=old_Bn,
            advantage_B=double["advantages"],
            importance_B=weight_BM[:, index],
            temperature=meta["temperature"],
            normaliser=method.config.mc_samples * meta["num_generations"],
        )
        loss, clipped = module.draw_loss(new_Bn, kl_Bn, part, method.config)
        torch.testing.assert_close(loss, expected["loss_per_mc_sample"][index], atol=1e-8, rtol=0)
        torch.testing.assert_close(clipped.ratio, expected["ratio"][:, index], atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("entropy")])
def test_step_probabilities_are_the_official_ones_in_float64(name, golden, golden_json):
    meta, tensors, double = (
        golden_json("loss/agrpo.json"),
        golden("loss/agrpo.safetensors"),
        golden("loss/agrpo.f64.safetensors"),
    )
    selection = sys.modules["harness.rl.step_selection"]
    last_B = tensors[f"{name}/last_step"]
    probability_BT = selection.entropy_probabilities(
        double["old_token_entropies"], tensors["unmask_steps"], last_B, meta["sampling_steps"]
    )
    torch.testing.assert_close(probability_BT, double[f"{name}/step_probs"], atol=1e-8, rtol=0)
    step_BM = selection.steps_by_probability(double[f"{name}/u"], probability_BT)
    assert torch.equal(step_BM, tensors[f"{name}/mc_steps"])
