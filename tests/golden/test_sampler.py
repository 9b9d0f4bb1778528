"""The sampler against the official generation loops, token by token, at temperature 0."""

import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.greedy import greedy_completions
from harness.diffusion.sampler import generate
from harness.diffusion.schedule import share_evenly
from harness.rollout import Prompts, RolloutNeeds


@pytest.mark.parametrize("case", range(6))
def test_egspo_generation_visits_the_official_states(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/egspo_generate.json")[case]
    assert settings["case"] == case
    arrays = golden("sampler/egspo_generate.safetensors")
    expected = {name.removeprefix(f"case{case}_"): value for name, value in arrays.items()}
    decoding = Decoding(
        completion_length=settings["gen_length"],
        block_length=settings["block_length"],
        num_steps=settings["steps"],
        guidance_scale=settings["cfg_scale"],
        eos_policy="run",
    )
    model = golden_model("llada_tiny", end_ids=(settings["eos_token_id"],))
    prompts = Prompts(ids_BP=arrays["prompt_ids"], mask_BP=None)
    rows = prompts.ids_BP.shape[0]
    rollout = generate(model, prompts, decoding, torch.zeros(rows, dtype=torch.long), needs=RolloutNeeds(argmax=True))
    for step in range(settings["steps"] + 1):
        step_B = torch.full((rows,), step)
        assert torch.equal(rollout.state_at(step_B)[0], expected["trajectory_ids"][step])
        if step < settings["steps"]:
            logprob = rollout.logprob_BC[rollout.revealed_at(step_B)].view(rows, -1)
            torch.testing.assert_close(logprob, expected["unmasked_logps"][step], atol=1e-5, rtol=0)
    step_BK = torch.arange(settings["steps"]).expand(rows, -1)
    official = expected["greedy_completions"][:-1, :, prompts.ids_BP.shape[1] :].transpose(0, 1)
    assert torch.equal(greedy_completions(model, rollout, step_BK), official)
    if not settings["cfg_scale"]:
        lazily = greedy_completions(model, dataclasses.replace(rollout, argmax_BTC=None), step_BK)
        assert torch.equal(lazily, official)


def test_reveal_counts_are_the_official_transfer_table(golden_json):
    *single, rows = golden_json("sampler/num_transfer_tokens.json")
    for case in single:
        assert share_evenly(case["masked_tokens"], case["steps"]) == case["tokens_per_step"], case
    counts = [sum(row) for row in rows["mask_index_rows"]]
    assert [share_evenly(count, rows["steps"]) for count in counts] == rows["tokens_per_step_rows"]


# In its third row three end tokens are deferred at one step, all with confidence 0: which goes first is torch.topk's
# whim.
TIED = 13


def zeros(rows):
    return torch.zeros(rows, dtype=torch.long)


@pytest.mark.parametrize("case", range(15))
def test_llada_generation_visits_the_official_states(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/llada_generate.json")[case]
    arrays = golden("sampler/llada_generate.safetensors")
    forbid, defer = settings.get("logits_eos_inf", False), settings.get("confidence_eos_eot_inf", False)
    decoding = Decoding(
        completion_length=settings["gen_length"],
        block_length=settings["block_length"],
        num_steps=settings["steps"],
        guidance_scale=settings["cfg_scale"],
        remasking=settings["remasking"],
        eos_policy={(True, False): "forbid", (False, True): "defer", (True, True): "forbid-defer"}.get(
            (forbid, defer), "run"
        ),
    )
    ends = (settings.get("eos_id_used_in_place_of_126081", 509), settings.get("eot_id_used_in_place_of_126348", 509))
    model = golden_model("llada_tiny", end_ids=ends)
    prompts = Prompts(ids_BP=arrays["prompt_ids"], mask_BP=None)
    rows = prompts.ids_BP.shape[0]
    rollout = generate(model, prompts, decoding, zeros(rows))
    same_B = torch.arange(rows) < (2 if case == TIED else rows)
    final_BL, _ = rollout.state_at(torch.full((rows,), settings["steps"]))
    assert torch.equal(final_BL[same_B], arrays[f"case{case}_output_ids"][same_B])
    assert torch.equal(rollout.unmask_step_BC.long()[same_B], arrays[f"case{case}_unmask_step"][same_B])
    if f"case{case}_states" in arrays:
        for step, state in enumerate(arrays[f"case{case}_states"]):
            assert torch.equal(rollout.state_at(torch.full((rows,), step))[0], state)
    if "forward_passes" in settings:
        assert rollout.forwards_B.sum() == rows * settings["forward_passes"] * (2 if settings["cfg_scale"] else 1)


@pytest.mark.parametrize("case", range(14))
def test_agrpo_generation_gives_the_official_tokens_and_record(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/agrpo_generate.json")[case]
    arrays = golden("sampler/agrpo_generate.safetensors")
    prefix = f"case{case}_"
    expected = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    length = settings["max_completion_length"]
    decoding = Decoding(
        completion_length=length,
        block_length=settings["block_length"],
        num_steps=length // settings["tokens_per_step"],
        remasking=settings["unmasking"],
        ranking="behaviour",
        eos_policy="stop-agrpo",
    )
    model = golden_model("llada_tiny", end_ids=(settings["eos_token_id"],))
    prompts = Prompts(ids_BP=expected.get("prompt_ids", arrays["prompt_ids"]), mask_BP=None)
    rows = prompts.ids_BP.shape[0]
    rollout = generate(model, prompts, decoding, zeros(rows), needs=RolloutNeeds(behaviour=True))
    assert torch.equal(torch.cat([prompts.ids_BP, rollout.completion_ids_BC], 1), expected["output_ids"])
    filler_BC = rollout.unmask_step_BC == rollout.num_steps
    ours_BC = torch.where(filler_BC, rollout.num_steps_B[:, None], rollout.unmask_step_BC)
    assert torch.equal(ours_BC.long(), expected["unmask_steps"])
    torch.testing.assert_close(rollout.behaviour_logprob_BC, expected["token_logps"], atol=1e-4, rtol=0)
    torch.testing.assert_close(rollout.behaviour_entropy_BC, expected["token_entropies"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", range(12))
def test_dream_generation_visits_the_official_states(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/dream_generate.json")[case]
    arrays = golden("sampler/dream_generate.safetensors")
    length, steps = settings["max_new_tokens"], settings["steps"]
    decoding = Decoding(
        completion_length=length,
        block_length=length,
        num_steps=steps,
        schedule="dream",
        remasking=settings["alg"],
        eos_policy="run",
    )
    prompts = Prompts(ids_BP=arrays["prompt_ids"], mask_BP=None)
    rows = prompts.ids_BP.shape[0]
    rollout = generate(golden_model("dream_tiny"), prompts, decoding, zeros(rows))
    assert torch.equal(rollout.state_at(torch.full((rows,), steps))[0], arrays[f"case{case}_sequences"])
    for step, state in enumerate(arrays[f"case{case}_history"]):
        assert torch.equal(rollout.state_at(torch.full((rows,), step + 1))[0], state)
