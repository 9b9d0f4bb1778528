"""Block diffusion: what a pass computes and costs, which rows leave, and what is refused."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.greedy import cheaper_while_sampling, greedy_completions
from harness.diffusion.sampler import generate
from harness.diffusion.schedule import block_diffusion_counts, most_steps
from harness.errors import UserError
from harness.models.attention import COMPLETION, SEQUENCE, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.models.tiny import END_ID, MASK_ID
from harness.randomness import row_seeds, stream
from harness.rollout import Prompts, RolloutNeeds

PROMPTS = ["12+3=", "7*8=", "hello world:", "a", "0000111122223333"]
PLAIN = Decoding(completion_length=12, block_length=4, num_steps=6, eos_policy="run")
RULES = [
    {},
    {"remasking": "sequential"},
    {"remasking": "random"},
    {"threshold": 0.2, "num_steps": 12},
    {"remasking": "entropy", "entropy_bound": 6.0},
    {"schedule": "dllm"},
]
FROM = pytest.mark.parametrize("blocks_from", [SEQUENCE, COMPLETION])


def by_blocks(model, blocks_from=SEQUENCE, length=4, shift=False, **special):
    return DiffusionLM(
        model.predictor.transformer,
        model.tokenizer,
        dataclasses.replace(model.special, **special),
        name="blocks",
        shift=shift,
        attention=Attention(block_length=length, blocks_from=blocks_from),
        compact_prompts=True,
    )


def rollout_of(model, decoding, rows=slice(None), **options):
    seeds = row_seeds(len(PROMPTS), stream(0, "rows"))
    return generate(model, model.encode_prompts(PROMPTS[rows]), decoding, seeds[rows], **options)


def recomputed(model, rollout):
    """Log-probability and entropy of every token by a whole pass over the state that it was revealed in (B, C)."""
    logprob_BC, entropy_BC = torch.zeros_like(rollout.logprob_BC), torch.zeros_like(rollout.entropy_BC)
    for step in range(rollout.num_steps):
        step_B = torch.full((rollout.num_rows,), step)
        with torch.no_grad():
            logits = model.completion_logits(*rollout.state_at(step_B), rollout.completion_length)
        chosen = logits.log_softmax(-1).gather(-1, rollout.completion_ids_BC[:, :, None])[:, :, 0]
        logprob_BC = torch.where(rollout.revealed_at(step_B), chosen, logprob_BC)
        entropy = categorical.entropy(logits.flatten(0, 1)).view(chosen.shape)
        entropy_BC = torch.where(rollout.revealed_at(step_B), entropy, entropy_BC)
    return logprob_BC, entropy_BC


@FROM
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_row_is_completed_alone_as_in_a_batch_and_its_record_is_that_of_whole_passes(
    random_model, rule, blocks_from
):
    model, decoding = by_blocks(random_model, blocks_from), dataclasses.replace(PLAIN, temperature=0.9, **rule)
    together = rollout_of(model, decoding)
    assert together.is_exact
    assert not (together.completion_ids_BC == MASK_ID).any()
    logprob_BC, entropy_BC = recomputed(model, together)
    torch.testing.assert_close(together.logprob_BC, logprob_BC, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.entropy_BC, entropy_BC, atol=1e-5, rtol=1e-5)
    for row, step_C in enumerate(together.unmask_step_BC.tolist()):
        assert sorted(set(step_C)) == list(range(together.num_steps_B[row]))
        assert together.num_steps_B[row] <= together.num_steps
    for row in (0, 3):
        alone = rollout_of(model, decoding, slice(row, row + 1))
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
        assert torch.equal(alone.unmask_step_BC[0], together.unmask_step_BC[row])


@FROM
@pytest.mark.parametrize("rule", [{"temperature": 0.9}, {"guidance_scale": 0.7}], ids=str)
def test_where_the_output_is_shifted_each_token_is_predicted_from_the_one_before(random_model, rule, blocks_from):
    model, decoding = by_blocks(random_model, blocks_from, shift=True), dataclasses.replace(PLAIN, **rule)
    rollout = rollout_of(model, decoding)
    if not decoding.guidance_scale:
        logprob_BC, _ = recomputed(model, rollout)
        torch.testing.assert_close(rollout.logprob_BC, logprob_BC, atol=1e-5, rtol=1e-5)
        unshifted = rollout_of(by_blocks(random_model, blocks_from), decoding)
        assert not torch.equal(rollout.completion_ids_BC, unshifted.completion_ids_BC)
    for row in (0, 3):
        alone = rollout_of(model, decoding, slice(row, row + 1))
        assert torch.equal(alone.completion_ids_BC[0], rollout.completion_ids_BC[row])


@FROM
def test_masks_in_all_blocks_are_predicted_beside_the_clean_sequence_as_they_were_sampled(random_model, blocks_from):
    model = by_blocks(random_model, blocks_from, shift=True)
    rollout = rollout_of(model, dataclasses.replace(PLAIN, num_steps=3))
    clean_BL, mask_BL = rollout.prompts.with_completion(rollout.completion_ids_BC)
    masked_BL, _ = rollout.state_at(torch.zeros(len(PROMPTS), dtype=torch.long))
    with torch.no_grad():
        logits_BCV = model.completion_logits(masked_BL, mask_BL, 12, clean_BL)
    chosen_BC = logits_BCV.log_softmax(-1).gather(-1, rollout.completion_ids_BC[:, :, None])[:, :, 0]
    # Every block was revealed in one step.
    torch.testing.assert_close(chosen_BC, rollout.logprob_BC, atol=1e-5, rtol=1e-5)


def test_a_pass_computes_the_block_alone_and_a_finished_block_once_more(random_model):
    model, seen = by_blocks(random_model), []

    def see(module, arguments, options):
        seen.append((options["past_key_values"].first, options["input_ids"].shape[1]))

    model.predictor.transformer.model.register_forward_pre_hook(see, with_kwargs=True)
    # Six tokens: a whole block that is stored first, and two tokens of the first block that is generated.
    rollout = generate(model, model.encode_prompts(["123456"]), PLAIN, torch.zeros(1, dtype=torch.long))
    first, whole = [(4, 4)], [(8, 4)] * 2 + [(8, 4)]
    assert seen == [(0, 4), *first, (4, 4), *whole, *[(12, 4)] * 3, (16, 2)]
    assert rollout.forwards_B.tolist() == [len(seen)]
    assert rollout.unmask_step_BC.tolist() == [[0, 0, *rollout.unmask_step_BC[0, 2:10].tolist(), 5, 5]]


@FROM
@pytest.mark.parametrize("rule", [{}, {"threshold": 0.2}, {"guidance_scale": 0.7}], ids=str)
def test_a_rollout_is_counted_within_one_per_cent_of_torch(random_model, rule, blocks_from):
    model = by_blocks(random_model, blocks_from)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        rollout = rollout_of(model, dataclasses.replace(PLAIN, **rule))
    assert rollout.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_row_leaves_after_a_block_with_an_end_token_and_is_filled_up(random_model):
    running = rollout_of(by_blocks(random_model), PLAIN)
    end_id = int(running.completion_ids_BC[4, 1])
    model = by_blocks(random_model, end_ids=(end_id,), pad_id=END_ID)
    stopped = rollout_of(model, dataclasses.replace(PLAIN, eos_policy="stop"))
    # Row 4 has a prompt of whole blocks: its first block is that of its first four tokens.
    assert torch.equal(stopped.completion_ids_BC[4, :4], running.completion_ids_BC[4, :4])
    assert stopped.completion_ids_BC[4, 4:].tolist() == [end_id] * 8
    assert stopped.num_steps_B[4] == 2
    assert (stopped.unmask_step_BC[4, 4:] == stopped.num_steps).all()
    assert stopped.forwards_B[4] < running.forwards_B[4]
    others = [row for row in range(5) if not (running.completion_ids_BC[row] == end_id).any()]
    assert others
    assert torch.equal(stopped.completion_ids_BC[others], running.completion_ids_BC[others])


def test_rows_may_have_completions_of_their_own_length(random_model):
    model, seeds = by_blocks(random_model), row_seeds(len(PROMPTS), stream(0, "rows"))
    lengths = torch.tensor([4, 12, 8, 4, 12])
    mixed = rollout_of(model, PLAIN, length_B=lengths)
    for row, length in enumerate(lengths.tolist()):
        decoding = dataclasses.replace(PLAIN, completion_length=length, num_steps=length // 2)
        alone = generate(model, model.encode_prompts(PROMPTS[row : row + 1]), decoding, seeds[row : row + 1])
        assert torch.equal(alone.completion_ids_BC[0], mixed.completion_ids_BC[row, :length])
        assert (mixed.completion_ids_BC[row, length:] == END_ID).all()


def test_greedy_completions_are_computed_afterwards(random_model):
    model = by_blocks(random_model)
    rollout = rollout_of(model, PLAIN)
    step_BK = torch.zeros(len(PROMPTS), 1, dtype=torch.long)
    greedy_BC = greedy_completions(model, rollout, step_BK)[:, 0]
    with torch.no_grad():
        logits = model.completion_logits(*rollout.state_at(step_BK[:, 0]), 12)
    logits[:, :, MASK_ID] = -torch.inf
    assert torch.equal(greedy_BC, logits.argmax(-1))
    assert not cheaper_while_sampling(model.shape, PLAIN, prompt_length=8, num_states=10**6)
    with pytest.raises(UserError, match="greedy=lazy"):
        rollout_of(model, PLAIN, needs=RolloutNeeds(argmax=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"block_length": 6}, "blocks of 4 tokens, but block_length=6; set it to 4"),
        ({"cache": "dual"}, "always sampled with an exact key-value cache; set cache=none instead of dual"),
        ({"cache": "prefix"}, "set cache=none instead of prefix"),
        ({"schedule": "dream"}, "schedule=dream does not support; choose even or dllm"),
        ({"eos_policy": "stop-agrpo"}, "eos_policy=stop-agrpo does not support; choose stop"),
    ],
)
def test_a_decoding_that_does_not_fit_the_model_s_blocks_is_refused(random_model, options, said):
    with pytest.raises(UserError, match=said):
        rollout_of(by_blocks(random_model), dataclasses.replace(PLAIN, **options))


def test_prompts_that_are_not_padded_to_whole_blocks_are_refused_where_blocks_begin_with_the_completion(random_model):
    model = by_blocks(random_model, COMPLETION)
    assert model.encode_prompts(["123456", "1"]).ids_BP.shape == (2, 8)
    assert model.pad_prompts([[1] * 4]).mask_BP is None
    prompts = Prompts(ids_BP=torch.ones(1, 6, dtype=torch.long), mask_BP=None)
    with pytest.raises(UserError, match="prompts of 6 columns, which are not whole blocks of 4"):
        generate(model, prompts, PLAIN, torch.zeros(1, dtype=torch.long))


def test_all_blocks_have_as_many_steps_and_a_prompt_that_has_begun_the_first_may_cost_one_more():
    five = dataclasses.replace(PLAIN, num_steps=5)
    assert block_diffusion_counts(five, 4) == [2, 2]
    assert block_diffusion_counts(dataclasses.replace(PLAIN, num_steps=9), 4) == [2, 1, 1]
    assert block_diffusion_counts(dataclasses.replace(five, schedule="dllm", block_length=12), 8) == [2, 2, 1, 2, 1]
    # Of blocks that reveal 2 and 2, one more where the prompt has left 1 or 3 tokens of the first: 2 + 2 + 2 + 1.
    assert most_steps(five, Attention(block_length=4)) == 7
    assert most_steps(dataclasses.replace(PLAIN, num_steps=3), Attention(block_length=4)) == 4
    assert most_steps(five, Attention(block_length=4, blocks_from=COMPLETION)) == 6
    assert most_steps(PLAIN, Attention(block_length=4)) == 7
    assert most_steps(dataclasses.replace(PLAIN, num_steps=12), Attention(block_length=4)) == 12


def test_what_needs_models_that_see_everything_says_so(random_model):
    with pytest.raises(UserError, match=r"attends by blocks of 4 tokens; training by answers supports only"):
        by_blocks(random_model).require_full_attention("training by answers")
    random_model.require_full_attention("training by answers")
