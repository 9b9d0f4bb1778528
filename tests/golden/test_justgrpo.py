"""JustGRPO against the official code: advantages, the scale, log-probabilities of every position, gradients. The loss
itself is about 0, as advantages add up to 0 in a group."""

import dataclasses
import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.states import state_logprob, state_tokens
from harness.rl.token_level import token_loss

CONFIGS = ["default", "temperature07", "zero_variance", "no_signal", "gain2_two_devices"]
FILE = "loss/justgrpo"
ROWS, LENGTH = 6, 16
module = sys.modules[get_method("justgrpo").__module__]


def test_every_configuration_of_the_golden_file_is_tested(golden_json):
    assert [config["name"] for config in golden_json(f"{FILE}.json")["configs"]] == CONFIGS


def of_config(tensors, name):
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def with_another_device(tensors, reward_B):
    """The rows again as those of a second device, where only one of the two groups has a signal."""
    ids_BL = tensors["prompt_completion_ids"]
    both_B = torch.cat([reward_B, torch.tensor([0.0, 1.0, 0.0, 0.5, 0.5, 0.5])])
    return {"prompt_completion_ids": torch.cat([ids_BL, ids_BL])}, both_B


@pytest.fixture(scope="module")
def prepared_case(golden, golden_json, golden_model, golden_scored, golden_rewards):
    """By configuration: method, policy, the states of the first device, its loss's factor against ours, and what the
    official code returned."""
    meta, tensors = golden_json(f"{FILE}.json"), golden(f"{FILE}.safetensors")
    made = {}

    def case(name):
        if name not in made:
            official = next(config for config in meta["configs"] if config["name"] == name)
            options = {"clip": official["eps"], "gain": official["gain"], "temperature": official["temperature"]}
            method = module.JustGrpo(config=module.JustGrpoConfig(**options))
            reward_B, inputs, devices = golden_rewards(tensors, meta, official["rewards"]), tensors, 1
            if official["valid_other_device"] is not None:
                (inputs, reward_B), devices = with_another_device(tensors, reward_B), 2
            scored = golden_scored(inputs, meta, reward_B, micro_batch_rows=ROWS)
            model = golden_model("llada_tiny")
            prepared = method.prepare(scored, model, None, None)
            (part,) = prepared.updates[0].parts
            own = part.rows(part.row_N < ROWS)
            made[name] = method, model, prepared, own, devices, of_config(tensors, name)
        return made[name]

    return case


@pytest.mark.parametrize("name", CONFIGS)
def test_advantages_scale_and_states_are_the_official_ones(prepared_case, name):
    _, _, prepared, part, devices, expected = prepared_case(name)
    advantage_B = prepared.advantages[:ROWS].float()
    torch.testing.assert_close(advantage_B, expected["advantages"], atol=1e-6, rtol=1e-6)
    valid = int((advantage_B != 0).sum())
    assert valid == int(expected["valid_samples"][0]) or devices == 2
    if not valid:
        assert not part.counted_Nn.any()
        return
    assert part.num_rows == valid * LENGTH
    scale = devices * part.weight_N / part.normaliser
    torch.testing.assert_close(scale.float(), expected["scale"].expand(len(scale)), atol=0, rtol=1e-6)
    first, later = state_tokens(part)[0, 8:], state_tokens(part)[5, 8:]
    assert (first == 510).all()
    assert ((later == 510) == (torch.arange(LENGTH) >= 5)).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_log_probabilities_losses_of_positions_and_gradients_are_the_official_ones(prepared_case, name):
    method, model, _, part, devices, expected = prepared_case(name)
    weights = dict(model.predictor.model.named_parameters())
    model.predictor.zero_grad()
    losses = torch.zeros(LENGTH)
    for position in range(LENGTH):
        piece = part.rows(part.position_Nn[:, 0] == position)
        if not piece.num_rows:
            continue
        loss, values = method.loss(model, piece)
        (devices * loss).backward()
        losses[position] = devices * loss.detach()
        assert (values["ratio"] == 1).all()
        new_N1 = state_logprob(model, piece).detach()[piece.counted_Nn]
        row_N = piece.row_N[piece.counted_Nn[:, 0]]
        torch.testing.assert_close(new_N1, expected["new_per_token_logps"][row_N, position], atol=1e-4, rtol=0)
    torch.testing.assert_close(losses, expected["loss_per_position"], atol=1e-6, rtol=0)
    torch.testing.assert_close(losses.sum(), expected["loss"][0], atol=1e-6, rtol=0)
    norm = torch.stack([weight.grad.norm() for weight in weights.values()]).norm().double()
    torch.testing.assert_close(norm, expected["grad_norm"][0], atol=0, rtol=1e-4)
    torch.testing.assert_close(weights["model.norm.weight"].grad, expected["grad_ln_f"], atol=5e-5, rtol=0)
    if "grad_block1_q_proj" in expected:
        q_proj = weights["model.layers.1.self_attn.q_proj.weight"].grad
        torch.testing.assert_close(q_proj, expected["grad_block1_q_proj"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(prepared_case, golden, name):
    method, _, prepared, part, devices, _ = prepared_case(name)
    expected = of_config(golden(f"{FILE}.f64.safetensors"), name)
    torch.testing.assert_close(prepared.advantages[:ROWS].double(), expected["advantages"], atol=1e-8, rtol=0)
    clips = {"clip_low": method.config.clip, "clip_high": method.config.clip}
    new_Nn = expected["new_per_token_logps"][part.row_N].gather(1, part.position_Nn)
    exact = dataclasses.replace(part.of_dtype(torch.float64), old_logprob_Nn=new_Nn)
    for position in range(LENGTH):
        chosen_N = part.position_Nn[:, 0] == position
        loss, _ = token_loss(new_Nn[chosen_N], lambda: None, exact.rows(chosen_N), **clips, beta=0.0)
        torch.testing.assert_close(devices * loss, expected["loss_per_position"][position], atol=1e-8, rtol=0)
