"""d1 / diffu-GRPO against the official trainer: advantages, masks, one-step log-probabilities, ratio, KL, loss,
gradients."""

import dataclasses

import pytest
import torch

from harness.registry import get_method
from harness.rl.method import ScoreFunction
from harness.rl.token_level import MaskedTokens, token_loss
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

CONFIGS = ["b004_e05_p015", "b0_e05_p015", "b004_e02_p015", "b004_e005_p030", "fixed_seed42", "cfg05"]


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json("loss/d1.json")["configs"]] == CONFIGS


def d1(official):
    """Our method with an official configuration."""
    config = get_method("d1").Config(
        inner_updates=official["num_iterations"],
        p_mask_prompt=official["p_mask_prompt"],
        random_masking=official["random_masking"],
        clip=official["epsilon"],
        beta=official["beta"],
        guidance_scale=official["cfg_scale"],
    )
    return get_method("d1")(config=config)


def scored_rollout(tensors, meta):
    """The golden completions; d1 does not ask how they came about."""
    prompt_length, ids_BL = meta["prompt_len"], tensors["prompt_completion_ids"]
    completion_BC = ids_BL[:, prompt_length:]
    rows = len(ids_BL)
    rollout = Rollout(
        prompts=Prompts(ids_BP=ids_BL[:, :prompt_length], mask_BP=None),
        completion_ids_BC=completion_BC,
        unmask_step_BC=torch.zeros_like(completion_BC, dtype=torch.int16),
        logprob_BC=torch.zeros(completion_BC.shape),
        entropy_BC=torch.zeros(completion_BC.shape),
        num_steps_B=torch.ones(rows, dtype=torch.int16),
        num_steps=1,
        mask_id=meta["mask_id"],
    )
    reward_B = tensors["reward_0"].nan_to_num() + tensors["reward_1"].nan_to_num()
    rewards = Rewards(total_B=reward_B.float(), parts={})
    return ScoredRollouts(rollout=rollout, rewards=rewards, group_size=meta["num_generations"])


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


@pytest.fixture
def case(request, golden, golden_json, golden_model):
    """Method, current policy, the updates prepared by the old policy, and what the official code returned."""
    meta, tensors = golden_json("loss/d1.json"), golden("loss/d1.safetensors")
    official = next(config for config in meta["configs"] if config["name"] == request.param)
    expected = of_config(tensors, request.param)
    method, scored = d1(official), scored_rollout(tensors, meta)
    is_masked_UBP = expected["perturbed_ids"][:, :, : meta["prompt_len"]] == meta["mask_id"]
    prepared = method.prepare(scored, golden_model("llada_tiny_old"), NO_SCORES, is_masked_UBP.transpose(0, 1))
    return method, golden_model("llada_tiny", reference="llada_tiny_ref"), prepared, expected


@pytest.mark.parametrize("case", CONFIGS, indirect=True)
def test_inputs_advantages_and_old_log_probabilities_are_the_official_ones(case):
    _, _, prepared, expected = case
    torch.testing.assert_close(prepared.advantages, expected["advantages"], atol=1e-6, rtol=0)
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        assert torch.equal(part.tokens_BDL[:, 0], expected["perturbed_ids"][index])
        assert torch.equal(part.counted_Nn, expected["completion_mask"].bool())
        torch.testing.assert_close(part.old_logprob_Nn, expected["old_per_token_logps"][index], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CONFIGS, indirect=True)
def test_losses_ratios_and_gradients_are_the_official_ones(case):
    method, model, prepared, expected = case
    weights = dict(model.predictor.model.named_parameters())
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        model.predictor.zero_grad()
        loss, values = method.loss(model, part)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss"][index], atol=2e-5, rtol=0)
        counted_BC = part.counted_Nn
        torch.testing.assert_close(values["ratio"], expected["ratio"][index][counted_BC], atol=1e-4, rtol=1e-4)
        if "k3_kl" in expected:
            torch.testing.assert_close(values["kl"], expected["k3_kl"][index][counted_BC], atol=2e-4, rtol=1e-4)
            torch.testing.assert_close(values["kl"].mean().double(), expected["metric_kl"][index], atol=1e-5, rtol=0)
        norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
        torch.testing.assert_close(norm, expected["grad_norm"][index], atol=0, rtol=1e-4)
        torch.testing.assert_close(weights["model.norm.weight"].grad, expected["grad_ln_f"][index], atol=2e-5, rtol=0)
        if index == 0:
            q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
            torch.testing.assert_close(q_proj, expected["grad_block1_q_proj_iter0"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("case", ["b004_e05_p015", "cfg05"], indirect=True)
def test_micro_batches_add_up_to_the_whole_loss(case):
    method, model, prepared, expected = case
    (part,) = prepared.updates[1].parts
    pieces = sum(method.loss(model, piece)[0] for piece in part.split(4))
    torch.testing.assert_close(pieces, expected["loss"][1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, golden, golden_json):
    meta, tensors = golden_json("loss/d1.json"), golden("loss/d1.safetensors")
    expected = of_config(tensors, name) | of_config(golden("loss/d1.f64.safetensors"), name)
    config = d1(next(config for config in meta["configs"] if config["name"] == name)).config
    counted_BC = expected["completion_mask"].bool()
    for index in range(3):
        part = MaskedTokens(
            tokens_BDL=expected["perturbed_ids"][index][:, None],
            mask_BL=None,
            target_BC=tensors["prompt_completion_ids"][:, meta["prompt_len"] :],
            counted_Nn=counted_BC,
            old_logprob_Nn=expected["old_per_token_logps"][index],
            advantage_N=expected["advantages"],
            weight_N=torch.ones_like(expected["advantages"]),
            normaliser=float(counted_BC.sum()),
        )
        loss, values = token_loss(
            expected["new_per_token_logps"][index],
            lambda index=index: expected["ref_per_token_logps"][index],
            part,
            clip_low=config.clip,
            clip_high=config.clip,
            beta=config.beta,
        )
        torch.testing.assert_close(loss, expected["loss"][index], atol=1e-8, rtol=0)
        torch.testing.assert_close(values["ratio"], expected["ratio"][index][counted_BC], atol=1e-8, rtol=0)
        if config.beta:
            torch.testing.assert_close(values["kl"], expected["k3_kl"][index][counted_BC], atol=1e-8, rtol=0)


def test_equal_seeds_give_the_same_masks_and_fixed_masking_ignores_them(golden, golden_json, golden_model):
    meta, tensors = golden_json("loss/d1.json"), golden("loss/d1.safetensors")
    scored, model = scored_rollout(tensors, meta), golden_model("llada_tiny")

    def masked(seed, *, random_masking):
        config = get_method("d1").Config(inner_updates=2, p_mask_prompt=0.5, random_masking=random_masking)
        method = get_method("d1")(config=config)
        masks_BUP = method.draw(scored, model, torch.Generator().manual_seed(seed))
        prepared = method.prepare(scored, model, NO_SCORES, masks_BUP)
        return [update.parts[0].tokens_BDL for update in prepared.updates]

    assert all(map(torch.equal, masked(1, random_masking=True), masked(1, random_masking=True)))
    assert not torch.equal(masked(1, random_masking=True)[0], masked(2, random_masking=True)[0])
    assert not torch.equal(*masked(1, random_masking=True))
    assert torch.equal(*masked(1, random_masking=False))
    assert torch.equal(masked(1, random_masking=False)[0], masked(2, random_masking=False)[0])


def no_scores(row_N, completion_ids_NC):
    raise AssertionError("d1 scores nothing beyond the rollout")


NO_SCORES: ScoreFunction = no_scores


def test_the_published_numbers_are_the_defaults():
    config = get_method("diffu-grpo").Config()
    assert dataclasses.asdict(config) == {
        "inner_updates": 12,
        "p_mask_prompt": 0.15,
        "random_masking": True,
        "clip": 0.5,
        "beta": 0.04,
        "guidance_scale": 0.0,
    }
