"""The sampler against the official generation loops, token by token, at temperature 0."""

import dataclasses

import pytest
import torch

from harness.decoding import Decoding
from harness.diffusion.greedy import greedy_completions
from harness.diffusion.sampler import generate
from harness.rollout import Prompts, RolloutNeeds


@pytest.mark.parametrize("case", [0, 1, 2, 3, 5])
def test_egspo_generation_visits_the_official_states(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/egspo_generate.json")[case]
    assert (settings["case"], settings["cfg_scale"]) == (case, 0.0)
    arrays = golden("sampler/egspo_generate.safetensors")
    expected = {name.removeprefix(f"case{case}_"): value for name, value in arrays.items()}
    decoding = Decoding(
        completion_length=settings["gen_length"],
        block_length=settings["block_length"],
        num_steps=settings["steps"],
        eos_policy="run",
    )
    model = golden_model("llada_tiny", end_id=settings["eos_token_id"])
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
    assert torch.equal(greedy_completions(model, rollout, step_BK).ids_BKC, official)
    lazily = greedy_completions(model, dataclasses.replace(rollout, argmax_BTC=None), step_BK)
    assert torch.equal(lazily.ids_BKC, official)
