"""Caches, thresholds and factors against the Fast-dLLM samplers of NVlabs and of dllm, token by token, at temperature
0."""

import json
import os
from pathlib import Path

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.diffusion.schedule import dllm_counts
from harness.rollout import Prompts

GOLDEN = Path(os.environ.get("HARNESS_GOLDEN") or Path(__file__).parent / "data")
CACHE_OF = {"generate": "none", "generate_with_prefix_cache": "prefix", "generate_with_dual_cache": "dual"}


def cases(name, wanted=lambda case: True):
    """The wanted cases of a sampler, but those that failed as published, as one test each."""
    path = GOLDEN / "sampler" / f"{name}.json"
    found = json.loads(path.read_text()) if path.is_file() else []
    chosen = [case for case in found if not case.get("error") and wanted(case)]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: str(case["case"]))


def is_whole(case):
    return not case["masks_left"] and not is_unequal(case)


def is_unequal(case):
    return len(set(case["prompt_lens"])) > 1


def dense(step_C):
    """The steps of a row numbered without those in which it waited for others."""
    return torch.unique(step_C, return_inverse=True)[1]


def completed(model, prompt_ids, decoding):
    prompts = Prompts(ids_BP=prompt_ids, mask_BP=None)
    rollout = generate(model, prompts, decoding, torch.zeros(len(prompt_ids), dtype=torch.long))
    assert not (rollout.completion_ids_BC == 510).any()
    return rollout


@cases("fastdllm_generate")
def test_each_prompt_gets_the_tokens_of_fast_dllm(golden, golden_model, case):
    arrays = golden("sampler/fastdllm_generate.safetensors")
    decoding = Decoding(
        completion_length=case["gen_length"],
        block_length=case["block_length"],
        num_steps=case["steps"],
        threshold=case["threshold"] or 0.0,
        cache=CACHE_OF[case["function"]],
        eos_policy="run",
    )
    model, official_BL = golden_model("llada_tiny"), arrays[f"case{case['case']}_output_ids"]
    for row, ids_P in enumerate(arrays["prompt_ids"]):
        rollout = completed(model, ids_P[None], decoding)
        assert torch.equal(rollout.completion_ids_BC[0], official_BL[row, len(ids_P) :])
        # The official cached loops make one more pass where the first one has filled the block.
        first_passes = rollout.unmask_step_BC[0].view(-1, case["block_length"])
        filled = sum(len(set(block.tolist())) == 1 for block in first_passes) if decoding.cache != "none" else 0
        assert rollout.forwards_B[0] == case["nfe"][row] - filled
    together = completed(model, arrays["prompt_ids"], decoding)
    assert torch.equal(together.state_at(torch.full((3,), together.num_steps))[0], official_BL)


class EndsBehind:
    """The official sampler puts prompts on the left and end tokens behind shorter rows, which LLaDA attends to."""

    def __init__(self, model, number):
        self.predictor, self.number = model.predictor, number

    def __enter__(self):
        original = self.predictor.hidden

        def hidden(tokens_BL, mask_BL, clean_BL):
            ends = torch.full((len(tokens_BL), self.number), 509)
            return original(torch.cat([tokens_BL, ends], 1), mask_BL)[:, : tokens_BL.shape[1]]

        self.predictor.hidden = hidden

    def __exit__(self, *error):
        del self.predictor.hidden


def batch_decoding(case):
    return Decoding(
        completion_length=case["max_new_tokens"],
        block_length=case["block_size"],
        num_steps=case["steps"],
        schedule="dllm",
        threshold=case.get("threshold") or 0.0,
        factor=case.get("factor") or 0.0,
        cache=case["use_cache"] or "none",
        eos_policy="run",
    )


@cases("fastdllm_batch", is_whole)
def test_a_batch_gets_the_tokens_and_steps_of_dllm(golden, golden_model, case):
    arrays = golden("sampler/fastdllm_batch.safetensors")
    ids_BP = arrays["prompt_ids"]
    rollout = completed(golden_model("llada_tiny"), ids_BP, batch_decoding(case))
    official_BC = arrays[f"case{case['case']}_output_ids"][:, ids_BP.shape[1] :]
    assert torch.equal(rollout.completion_ids_BC, official_BC)
    for ours_C, official_C in zip(rollout.unmask_step_BC, arrays[f"case{case['case']}_unmask_step"], strict=True):
        assert torch.equal(dense(ours_C), dense(official_C))
    assert rollout.forwards_B.tolist() == [case["forwards"]] * 3


@cases("fastdllm_batch", lambda case: case["masks_left"])
def test_what_dllm_leaves_masked_is_revealed_and_what_it_reveals_is_the_same(golden, golden_model, case):
    arrays = golden("sampler/fastdllm_batch.safetensors")
    ids_BP = arrays["prompt_ids"]
    rollout = completed(golden_model("llada_tiny"), ids_BP, batch_decoding(case))
    block = slice(0, case["block_size"])
    official_BC = arrays[f"case{case['case']}_output_ids"][:, ids_BP.shape[1] :][:, block]
    written = official_BC != 510
    assert not written.all()
    assert torch.equal(rollout.completion_ids_BC[:, block][written], official_BC[written])


@cases("fastdllm_batch", is_unequal)
def test_shorter_prompts_get_the_tokens_of_dllm_where_the_same_end_tokens_follow(golden, golden_model, case):
    arrays = golden("sampler/fastdllm_batch.safetensors")
    model, length = golden_model("llada_tiny"), case["max_new_tokens"]
    for row, prompt_length in enumerate(case["prompt_lens"]):
        ids_P = arrays["prompt_ids"][row, :prompt_length]
        with EndsBehind(model, max(case["prompt_lens"]) - prompt_length):
            rollout = completed(model, ids_P[None], batch_decoding(case))
        official_C = arrays[f"case{case['case']}_output_ids"][row, prompt_length : prompt_length + length]
        assert torch.equal(rollout.completion_ids_BC[0], official_C)


@cases("dream_cached_generate")
def test_dream_gets_the_tokens_and_steps_of_dllm(golden, golden_model, case):
    arrays = golden("sampler/dream_cached_generate.safetensors")
    by_threshold, cache = case["alg"] == "confidence_threshold", case["use_cache"] or "none"
    length = case["max_new_tokens"]
    decoding = Decoding(
        completion_length=length,
        block_length=length if cache == "none" else case["block_size"],
        num_steps=case["steps"],
        schedule="dllm" if cache == "none" else "dream",
        remasking="low_confidence" if by_threshold else case["alg"],
        # Without a cache the official threshold chooses among the quota of a step: one token here.
        threshold=case["threshold"] if by_threshold and cache != "none" else 0.0,
        cache=cache,
        eos_policy="run",
    )
    model, official_BL = golden_model("dream_tiny"), arrays[f"case{case['case']}_output_ids"]
    lengths = case["prompt_lens"]
    width = max(lengths)
    ids_BP = torch.stack([arrays["prompt_ids"][row].roll(width - size) for row, size in enumerate(lengths)])
    mask_BP = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
    prompts = Prompts(ids_BP=ids_BP, mask_BP=None if mask_BP.all() else mask_BP)
    rollout = generate(model, prompts, decoding, torch.zeros(len(lengths), dtype=torch.long))
    assert torch.equal(rollout.completion_ids_BC, official_BL[:, -length:])
    for ours_C, official_C in zip(rollout.unmask_step_BC, arrays[f"case{case['case']}_unmask_step"], strict=True):
        assert torch.equal(dense(ours_C), dense(official_C))
    # A step of Dream's schedule that reveals nothing is no pass here.
    idle = case["forwards"] - len(arrays[f"case{case['case']}_unmask_step"].unique())
    assert rollout.forwards_B.tolist() == [case["forwards"] - idle] * len(lengths)


def test_every_case_that_did_not_fail_as_published_is_compared_once(golden_json):
    for case in golden_json("sampler/fastdllm_batch.json"):
        if not case["error"]:
            assert sum([is_whole(case), case["masks_left"] > 0, is_unequal(case)]) == 1, case


def test_dllm_counts_are_the_official_table(golden_json):
    for case in golden_json("sampler/mdlm_num_transfer_tokens.json"):
        assert dllm_counts(case["masks"], case["steps"]) == case["counts"], case
