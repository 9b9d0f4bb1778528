"""The A2D families through our sampler against dllm's MDLMSampler, where both share tokens out evenly."""

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate

PLAIN = (*range(12), 19)
"""Cases of whole blocks and steps, without suppressed or kept tokens, shift or infilling."""


@pytest.mark.parametrize("case", PLAIN)
def test_a2d_generation_writes_the_official_tokens_at_the_official_steps(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/mdlm_generate.json")[case]
    arrays = golden("sampler/mdlm_generate.safetensors")
    length = settings["max_new_tokens"]
    decoding = Decoding(
        completion_length=length,
        block_length=settings["block_size"],
        num_steps=settings["steps"],
        guidance_scale=settings.get("cfg_scale", 0.0),
        eos_policy="run",
    )
    model = golden_model(settings["model"])
    # In float32 two confidences of case 3, which guidance makes larger, are told apart by rounding alone.
    model.predictor.double()
    lengths = settings["prompt_lens"]
    rows = [row[:seen].tolist() for row, seen in zip(arrays["prompt_ids"], lengths, strict=True)]
    rollout = generate(model, model.pad_prompts(rows), decoding, torch.zeros(len(rows), dtype=torch.long))
    official = [ids[seen : seen + length] for ids, seen in zip(arrays[f"case{case}_output_ids"], lengths, strict=True)]
    assert torch.equal(rollout.completion_ids_BC, torch.stack(official))
    assert torch.equal(rollout.unmask_step_BC.long(), arrays[f"case{case}_unmask_step"].long())
