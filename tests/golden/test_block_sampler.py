"""Block diffusion against the samplers of SDAR, OpenCompass, JetEngine and dllm, token by token, with the most probable
token each time."""

import json
import os
from pathlib import Path

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.sampler import generate
from harness.models.attention import COMPLETION, Attention

GOLDEN = Path(os.environ.get("HARNESS_GOLDEN") or Path(__file__).parent / "data")
MASK_ID = 510


def cases(name, wanted):
    """The wanted cases of a sampler, but those that failed as published, as one test each."""
    path = GOLDEN / "sampler" / f"{name}.json"
    found = json.loads(path.read_text()) if path.is_file() else []
    chosen = [case for case in found if not case.get("error") and wanted(case)]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: str(case["case"]))


def completed(model, rows, decoding):
    prompts = model.pad_prompts([row.tolist() for row in rows])
    rollout = generate(model, prompts, decoding, torch.zeros(len(rows), dtype=torch.long))
    assert not (rollout.completion_ids_BC == MASK_ID).any()
    assert rollout.is_exact
    return rollout


def is_jetengine(case):
    return case["source"].startswith("jetengine")


def is_plain(case):
    """The confidence is the untempered probability of the most probable token."""
    return (
        not is_jetengine(case) and case["temperature"] == 1 and (case["source"] != "generate.py" or "top_k" not in case)
    )


def sdar_model(golden_model, case):
    ends = [*(case.get("stopping_criteria_idx") or case.get("stop_words") or []), case.get("eos_id", 509)]
    return golden_model("sdar_tiny", end_ids=tuple(ends), attention=Attention(block_length=case["block_length"]))


def sdar_decoding(case, length, **options):
    """What the official settings are called here."""
    rule = case.get("remasking_strategy", "low_confidence_dynamic")
    thresholds = [case[key] for key in ("threshold", "confidence_threshold", "dynamic_threshold") if key in case]
    stops = case.get("stopping_criteria_idx") or is_jetengine(case)
    given = {
        "completion_length": length,
        "block_length": case["block_length"],
        "num_steps": case["denoising_steps"] * -(-length // case["block_length"]),
        "remasking": {"sequential": "sequential", "entropy_bounded": "entropy"}.get(rule, "low_confidence"),
        "threshold": thresholds[0] if rule == "low_confidence_dynamic" else 0.0,
        "entropy_bound": case.get("eb_threshold", 0.0),
        "eos_policy": "stop" if stops else "run",
    }
    return Decoding(**{**given, **options})


def sdar_rows(golden, case):
    """The number of each row in which nothing was overwritten, its prompt, and the official completion and steps."""
    arrays = golden("sampler/sdar_generate.safetensors")
    for row, size in enumerate(case["prompt_lens"]):
        place = f"case{case['case']}_row{row}"
        if not (case.get("overwritten_pass_and_position") or {row: []})[row]:
            steps = arrays.get(f"{place}_unmask_step")
            step_C = arrays[f"{place}_first_unmask_step"] - 1 if steps is None else steps[size:]
            yield row, arrays["prompt_ids"][row, :size], arrays[f"{place}_output_ids"][size:], step_C


@cases("sdar_generate", is_plain)
def test_each_prompt_gets_the_tokens_and_steps_of_sdar(golden, golden_model, case):
    model = sdar_model(golden_model, case)
    for row, prompt_P, official_C, step_C in sdar_rows(golden, case):
        rollout = completed(model, [prompt_P], sdar_decoding(case, len(official_C)))
        written = official_C != MASK_ID
        assert torch.equal(rollout.completion_ids_BC[0][written], official_C[written])
        assert torch.equal(rollout.unmask_step_BC[0][written].long(), step_C[written])
        assert (rollout.completion_ids_BC[0][~written] == model.special.end_ids[0]).all()
        # The official loop also stores the last block, which nothing reads.
        assert rollout.forwards_B[0] == case["forwards_per_row"][row]["total"] - 1


@cases("sdar_generate", lambda case: not is_jetengine(case) and not is_plain(case))
def test_confidences_may_be_those_of_the_tempered_and_truncated_distribution(golden, golden_model, case, monkeypatch):
    # As in the official run, the most probable token instead of a draw.
    monkeypatch.setattr(categorical, "draw", lambda logits_NV, uniform_N, temperature: logits_NV.argmax(1))
    options = {name: case[name] for name in ("temperature", "top_k", "top_p") if name in case}
    for row, prompt_P, official_C, step_C in sdar_rows(golden, case):
        decoding = sdar_decoding(case, len(official_C), ranking="behaviour", **options)
        rollout = completed(sdar_model(golden_model, case), [prompt_P], decoding)
        assert torch.equal(rollout.completion_ids_BC[0], official_C)
        assert torch.equal(rollout.unmask_step_BC[0].long(), step_C)
        assert rollout.forwards_B[0] == case["forwards_per_row"][row]["total"] - 1


@cases("sdar_generate", is_jetengine)
def test_each_prompt_gets_the_tokens_and_steps_of_jetengine_up_to_a_block_that_it_leaves_masks_in(
    golden, golden_model, case
):
    size = case["block_length"]
    for row, prompt_P, official_C, step_C in sdar_rows(golden, case):
        begun = len(prompt_P) % size
        # JetEngine fills whole blocks too, and cuts afterwards.
        length = -(-(begun + case["max_tokens"]) // size) * size - begun
        rollout = completed(sdar_model(golden_model, case), [prompt_P], sdar_decoding(case, length))
        left = case["forwards_per_row"][row]["masks_in_committed_blocks"]
        whole = next((block for block, masks in enumerate(left) if masks), len(left))
        compared = min(len(official_C), (whole + 1) * size - begun)
        written = torch.arange(len(official_C)) < compared
        written &= official_C != MASK_ID
        assert torch.equal(rollout.completion_ids_BC[0, : len(official_C)][written], official_C[written])
        assert torch.equal(rollout.unmask_step_BC[0, : len(official_C)][written].long(), step_C[written])


@cases("sdar_generate", lambda case: case["case"] in (0, 3, 15, 29))
def test_a_batch_of_prompts_of_unequal_length_gets_what_each_gets_alone(golden, golden_model, case):
    model = sdar_model(golden_model, case)
    arrays = golden("sampler/sdar_generate.safetensors")
    prompts = [arrays["prompt_ids"][row, :size] for row, size in enumerate(case["prompt_lens"])]
    together = completed(model, prompts, decoding := sdar_decoding(case, 14))
    for row, prompt_P in enumerate(prompts):
        alone = completed(model, [prompt_P], decoding)
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
        assert torch.equal(alone.unmask_step_BC[0], together.unmask_step_BC[row])
        torch.testing.assert_close(alone.logprob_BC[0], together.logprob_BC[row], atol=1e-4, rtol=0)


def keep_in_sight(model, ids):
    """Guidance that leaves tokens of the prompt in sight; not an option of a decoding."""
    original = model.cached_hidden

    def cached_hidden(tokens_Bq, mask_BL, cache):
        given_Bq, blind_Bq = tokens_Bq.chunk(2)
        is_kept_Bq = torch.isin(given_Bq, torch.tensor(ids))
        return original(torch.cat([given_Bq, torch.where(is_kept_Bq, given_Bq, blind_Bq)]), mask_BL, cache)

    model.cached_hidden = cached_hidden


@cases("bd3lm_generate", lambda case: True)
def test_a_batch_gets_the_tokens_and_steps_of_bd3lm(golden, golden_model, case):
    arrays, size = golden("sampler/bd3lm_generate.safetensors"), case["block_size"]
    blocks = -(-case["max_new_tokens"] // size)
    decoding = Decoding(
        completion_length=case["max_new_tokens"],
        block_length=size,
        num_steps=case["steps_per_block"] * blocks if "steps_per_block" in case else case["steps"],
        schedule="dllm",
        guidance_scale=case.get("cfg_scale", 0.0),
        eos_policy="stop",
    )
    attention = Attention(block_length=size, blocks_from=COMPLETION)
    shift = case.get("right_shift_logits")
    model = golden_model(case["model"], end_ids=(case["eos_id"],), attention=attention, shift=shift)
    if "cfg_keep_tokens" in case:
        keep_in_sight(model, case["cfg_keep_tokens"])
    prompts = [arrays["prompt_ids"][row, :seen] for row, seen in enumerate(case["prompt_lens"])]
    rollout = completed(model, prompts, decoding)
    official_BC = arrays[f"case{case['case']}_output_ids"][:, case["padded_prompt_len"] :]
    step_BC = arrays[f"case{case['case']}_unmask_step"]
    for ids_C, official_C, ours_C, steps_C in zip(
        rollout.completion_ids_BC, official_BC, rollout.unmask_step_BC, step_BC, strict=True
    ):
        same = official_C.new_tensor(range(len(official_C))) < until_it_differs(official_C, case)
        assert torch.equal(ids_C[: len(official_C)][same], official_C[same])
        assert torch.equal(ours_C[: len(official_C)][same].long(), steps_C[same])
        assert (ids_C[: len(official_C)][~same] == case["eos_id"]).all() or case["pad_id"] != 508
    if not (official_BC == case["eos_id"]).any():
        assert rollout.forwards_B.tolist() == [case["forwards_total"]] * len(prompts)


def until_it_differs(official_C, case):
    """Tokens that ours shares: up to the end of the block of an end token, where ours ends the row, or of a generated
    padding token, which the official code takes for padding afterwards."""
    stops = (official_C == case["eos_id"]) | (official_C == case["pad_id"])
    first = int(stops.int().argmax()) if stops.any() else len(official_C)
    return (first // case["block_size"] + 1) * case["block_size"]
