"""The A2D families and Open-dCoder through our samplers, against the official generation loops, at temperature 0."""

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.proposal import propose
from harness.diffusion.sampler import generate
from harness.rollout import GIVEN, Prompts

TIED = 21
"""In its first row all four positions of the first block propose tokens that are deferred, each with confidence 0:
which goes first is torch.topk's whim."""


def keep_in_sight(model, ids):
    """Guidance that leaves tokens of the prompt in sight; not an option of a decoding."""
    original = model.hidden

    def hidden(tokens_BL, mask_BL):
        given_BL, blind_BL = tokens_BL.chunk(2)
        is_kept_BL = torch.isin(given_BL, torch.tensor(ids))
        return original(torch.cat([given_BL, torch.where(is_kept_BL, given_BL, blind_BL)]), mask_BL)

    model.hidden = hidden


def suppress(model, ids):
    """A model that gives some tokens no probability; not an option of a decoding, but for the first end token."""
    original = model.head
    model.head = lambda hidden: original(hidden).index_fill(-1, torch.tensor(ids), -torch.inf)


def a2d(golden_model, settings):
    """The model of a case, and how it treats end tokens."""
    # dllm's begin_suppress_tokens are end tokens that are deferred; its right shift is that of Dream's output.
    deferred = tuple(settings.get("begin_suppress_tokens", ()))
    options = {"end_ids": deferred} if deferred else {}
    model = golden_model(settings["model"], shift=settings.get("right_shift_logits"), **options)
    # In float32 two confidences of case 3, which guidance makes larger, are told apart by rounding alone.
    model.predictor.double()
    if "cfg_keep_tokens" in settings:
        keep_in_sight(model, settings["cfg_keep_tokens"])
    if "suppress_tokens" in settings:
        suppress(model, settings["suppress_tokens"])
    return model, "defer" if deferred else "run"


def texts_with_holes(arrays, case, settings):
    """Of an infilling case, whose text is all completion: given tokens (B, C), and the steps as ours are recorded."""
    mask_id, lengths = settings["mask_id"], settings["prompt_lens"]
    given_BC = torch.full_like(arrays[f"case{case}_output_ids"], mask_id)
    step_BC = arrays[f"case{case}_unmask_step"].long()
    for row, length in enumerate(lengths):
        given_BC[row, :length] = arrays[f"case{case}_input_row{row}"]
        step_BC[row, length:] = settings["forwards"]
    return given_BC, step_BC.masked_fill(given_BC != mask_id, GIVEN)


@pytest.mark.parametrize("case", [22, 23])
def test_a2d_infilling_writes_the_official_tokens_at_the_official_steps(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/mdlm_generate.json")[case]
    arrays = golden("sampler/mdlm_generate.safetensors")
    given_BC, step_BC = texts_with_holes(arrays, case, settings)
    length = given_BC.shape[1]
    decoding = Decoding(
        completion_length=length,
        block_length=settings["block_size"] or length,
        num_steps=settings["steps"],
        schedule="dllm",
        eos_policy="run",
    )
    decoding.check("rollout")
    model = golden_model(settings["model"])
    rollout = generate(
        model,
        model.pad_prompts([[]] * 3),
        decoding,
        torch.zeros(3, dtype=torch.long),
        length_B=torch.tensor(settings["prompt_lens"]),
        given_BC=given_BC,
    )
    assert torch.equal(rollout.completion_ids_BC, arrays[f"case{case}_output_ids"])
    assert torch.equal(rollout.unmask_step_BC.long(), step_BC)
    assert rollout.forwards_B.max() == settings["forwards"]


@pytest.mark.parametrize("case", range(22))
def test_a2d_generation_writes_the_official_tokens_at_the_official_steps(golden, golden_json, golden_model, case):
    settings = golden_json("sampler/mdlm_generate.json")[case]
    arrays = golden("sampler/mdlm_generate.safetensors")
    length = settings["max_new_tokens"]
    model, eos_policy = a2d(golden_model, settings)
    decoding = Decoding(
        completion_length=length,
        block_length=settings["block_size"],
        num_steps=settings["steps"],
        schedule="dllm",
        guidance_scale=settings.get("cfg_scale", 0.0),
        eos_policy=eos_policy,
    )
    decoding.check("rollout")
    lengths = settings["prompt_lens"]
    rows = [row[:seen].tolist() for row, seen in zip(arrays["prompt_ids"], lengths, strict=True)]
    rollout = generate(model, model.pad_prompts(rows), decoding, torch.zeros(len(rows), dtype=torch.long))
    official = [ids[seen : seen + length] for ids, seen in zip(arrays[f"case{case}_output_ids"], lengths, strict=True)]
    same = slice(1 if case == TIED else 0, None)
    assert torch.equal(rollout.completion_ids_BC[same], torch.stack(official)[same])
    assert torch.equal(rollout.unmask_step_BC.long()[same], arrays[f"case{case}_unmask_step"].long()[same])
    passes = settings["forwards"] * (2 if settings.get("cfg_scale") else 1)
    assert rollout.forwards_B.tolist() == [passes] * len(rows)


def test_in_the_official_states_the_official_tokens_are_the_surest_where_some_are_deferred(
    golden, golden_json, golden_model
):
    settings = golden_json("sampler/mdlm_generate.json")[TIED]
    arrays = golden("sampler/mdlm_generate.safetensors")
    model, eos_policy = a2d(golden_model, settings)
    decoding = Decoding(eos_policy=eos_policy)
    deferred = 0
    for row, seen in enumerate(settings["prompt_lens"]):
        prompts = model.pad_prompts([arrays["prompt_ids"][row, :seen].tolist()])
        ids_C, step_C = (arrays[f"case{TIED}_{name}"][row] for name in ("output_ids", "unmask_step"))
        ids_C = ids_C[seen : seen + len(step_C)]
        for step in range(settings["steps"]):
            tokens_BL, mask_BL = prompts.with_completion(torch.where(step_C < step, ids_C, settings["mask_id"])[None])
            block = slice(step // 4 * 4, step // 4 * 4 + 4)
            logits_nV = model.completion_logits(tokens_BL, mask_BL, len(step_C))[0, block][step_C[block] >= step]
            proposal = propose(
                logits_nV, decoding, model.special, token_uniform_N=None, order_uniform_N=None, record_behaviour=False
            )
            place = (step_C[block][step_C[block] >= step] == step).nonzero().item()
            assert proposal.token_N[place] == ids_C[block][step_C[block] == step]
            assert proposal.confidence_N[place] == proposal.confidence_N.max()
            deferred += proposal.confidence_N[place] == -torch.inf
    assert deferred > 0


def opendcoder(golden, golden_json, golden_model, case):
    """The case's settings and arrays, our rollout, and what the model was shown in each pass."""
    settings = golden_json("sampler/opendcoder_generate.json")[case]
    arrays = golden("sampler/opendcoder_generate.safetensors")
    length, remasking = settings["max_new_tokens"], settings["alg"]
    decoding = Decoding(
        completion_length=length,
        block_length=length,
        num_steps=settings["steps"],
        schedule="even" if remasking == "p2" else "dream",
        remasking=remasking,
        eos_policy="run",
    )
    decoding.check("evaluation.decoding")
    model, seen = golden_model("a2d_qwen2_tiny", shift=True), []
    original = model.hidden
    model.hidden = lambda tokens_BL, mask_BL: (seen.append(tokens_BL.clone()), original(tokens_BL, mask_BL))[1]
    prompts = Prompts(ids_BP=arrays["prompt_ids"], mask_BP=None)
    rollout = generate(model, prompts, decoding, torch.zeros(len(arrays["prompt_ids"]), dtype=torch.long))
    final_BL = torch.cat([prompts.ids_BP, rollout.completion_ids_BC], 1)
    assert torch.equal(final_BL, arrays[f"case{case}_output_ids"])
    return settings, arrays[f"case{case}_history"], rollout, seen


@pytest.mark.parametrize("case", range(9))
def test_open_dcoder_generation_visits_the_official_states(golden, golden_json, golden_model, case):
    settings, history, rollout, _ = opendcoder(golden, golden_json, golden_model, case)
    assert len(history) == settings["steps"] == rollout.num_steps
    for step, state_BL in enumerate(history):
        assert torch.equal(rollout.state_at(torch.full((3,), step + 1))[0], state_BL)


@pytest.mark.parametrize("case", range(9, 12))
def test_open_dcoders_p2_masks_and_writes_what_the_official_code_does(golden, golden_json, golden_model, case):
    settings, history, rollout, seen = opendcoder(golden, golden_json, golden_model, case)
    assert settings["alg"] == "p2"
    assert len(seen) == settings["steps"] == settings["forwards"]
    for state_BL, shown_BL in zip(history[:-1], seen[1:], strict=True):
        assert torch.equal(shown_BL, state_BL)
    # What is written last is what was masked in the state before.
    mask_id = settings["mask_id"]
    for step, shown_BL in enumerate(seen):
        written_last_BC = rollout.unmask_step_BC == step
        assert (shown_BL[:, -settings["max_new_tokens"] :][written_last_BC] == mask_id).all()
    assert rollout.forwards_B.tolist() == [settings["forwards"]] * 3
