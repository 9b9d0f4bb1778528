"""Batches that are made anew for every block: what a row gets in them, what it costs, and which rows come next."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.decoding import Decoding
from harness.diffusion.sampler import Generation, generate
from harness.diffusion.samplers.queue import BlockQueue
from harness.models.diffusion_lm import DiffusionLM
from harness.models.tiny import END_ID, MASK_ID
from harness.randomness import row_seeds, stream
from harness.rollout import RolloutNeeds

TEXTS = ["12+3=", "7*8=#", "hello world:", "a", "0000111122223333", "x#", "what is 2+2?", "4444", "ab", "#0123456789"]
SEEDS = row_seeds(len(TEXTS), stream(0, "rows"))
ENDS_EARLY = (1, 5, 9)
BLOCKS = {"completion_length": 12, "block_length": 4, "num_steps": 7, "temperature": 0.9}
DECODINGS = [{}, {"cache": "prefix"}, {"cache": "dual"}, {"threshold": 0.3}, {"guidance_scale": 0.5}, {"top_k": 9}]


@pytest.fixture
def model(random_model):
    """In float64, in which no rounding decides a draw."""
    random_model.predictor.double()
    return random_model


def end_early(model, monkeypatch):
    """Has the model predict end tokens alone from the second block of the marked prompts on."""
    marker = model.tokenizer.encode("#")[0]
    real = model.predictor.hidden
    end_d = model.predictor.transformer.lm_head.weight[END_ID]

    def hidden(tokens_BL, mask_BL, clean_BL):
        states_BLd = real(tokens_BL, mask_BL, clean_BL)
        states_BLd[(tokens_BL[:, :-12] == marker).any(1), -8:] = 1e3 * end_d
        return states_BLd

    monkeypatch.setattr(model.predictor, "hidden", hidden)


def end_by_lot(model, monkeypatch):
    """Ends rows after every block whose first token has an even number."""
    monkeypatch.setattr(model, "is_end", lambda ids_Bn: (ids_Bn[:, :1] % 2 == 0).expand_as(ids_Bn))


def in_batches(model, decoding, batch_size, **options):
    generation = Generation(model, model.encode_prompts(TEXTS), decoding, SEEDS, **options)
    finished = list(generation.run(batch_size))
    assert sorted(row for rows in finished for row in rows) == list(range(len(TEXTS)))
    return generation.rollout


def alone(model, decoding, row, **options):
    return generate(model, model.encode_prompts([TEXTS[row]]), decoding, SEEDS[row : row + 1], **options)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
@pytest.mark.parametrize("options", DECODINGS, ids=str)
def test_a_row_gets_in_any_batch_what_it_gets_alone(model, monkeypatch, options, batch_size):
    end_by_lot(model, monkeypatch)
    decoding = Decoding(**BLOCKS, **options)
    needs = RolloutNeeds(argmax=decoding.computes_all, behaviour=True)
    together = in_batches(model, decoding, batch_size, needs=needs)
    assert len(together.num_steps_B.unique()) > 1
    assert not (together.completion_ids_BC == MASK_ID).any()
    for row in range(len(TEXTS)):
        one = alone(model, decoding, row, needs=needs)
        for name in ("completion_ids_BC", "unmask_step_BC", "num_steps_B", "argmax_BTC", "support_ids_BCk"):
            found, wanted = getattr(together, name), getattr(one, name)
            assert wanted is None or torch.equal(found[row], wanted[0]), name
        for name in ("logprob_BC", "entropy_BC", "behaviour_logprob_BC", "behaviour_entropy_BC"):
            torch.testing.assert_close(getattr(together, name)[row], getattr(one, name)[0], atol=1e-5, rtol=0)
        assert together.forwards_B[row] >= one.forwards_B[0]
        if not decoding.adaptive:
            assert together.forwards_B[row] == one.forwards_B[0]


def test_rows_that_end_leave_and_no_batch_is_wider_than_its_longest_prompt(model, monkeypatch):
    shapes, real = [], DiffusionLM.hidden

    def seen(self, tokens_BL, mask_BL):
        shapes.append(tuple(tokens_BL.shape))
        return real(self, tokens_BL, mask_BL)

    monkeypatch.setattr(DiffusionLM, "hidden", seen)
    end_early(model, monkeypatch)
    rollout = in_batches(model, Decoding(**{**BLOCKS, "num_steps": 3, "cache": "none"}), 4)
    # Prompts of 16, 12, 12, 11*, 5, 5*, 4, 2, 2*, 1 tokens before 12 of the completion; those with * end after block 1.
    # Blocks 0, 1, 0, 1, 2, 0, 1, 2.
    assert shapes == [(4, 28), (4, 28), (4, 17), (4, 17), (4, 28), (2, 14), (2, 14), (3, 16)]
    assert rollout.forwards_B.tolist() == [3 - (row in ENDS_EARLY) for row in range(len(TEXTS))]
    assert (rollout.completion_ids_BC[list(ENDS_EARLY), 4:] == END_ID).all()
    assert rollout.forwards_B.sum() == sum(rows for rows, _ in shapes)


@pytest.mark.parametrize("options", DECODINGS, ids=str)
def test_what_rows_spend_is_counted_within_one_per_cent_of_torch(model, monkeypatch, options):
    end_early(model, monkeypatch)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        rollout = in_batches(model, Decoding(**BLOCKS, **options), 4)
    assert rollout.flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert (rollout.seconds_B > 0).all()
    if not options:
        # Both are as long as the batches of their first two blocks.
        assert rollout.flops_B[9] < rollout.flops_B[2]


def test_a_block_that_does_not_fit_is_made_again_with_half_of_the_rows(model, monkeypatch):
    decoding = Decoding(**BLOCKS)
    expected = in_batches(model, decoding, 8)
    real, passes = model.predictor.hidden, []

    def small_memory(tokens_BL, mask_BL, clean_BL):
        passes.append(len(tokens_BL))
        if len(tokens_BL) > 4 and len(passes) > 1:
            raise torch.OutOfMemoryError("injected")
        return real(tokens_BL, mask_BL, clean_BL)

    monkeypatch.setattr(model.predictor, "hidden", small_memory)
    model.memory.say = lambda text: None
    generation = Generation(model, model.encode_prompts(TEXTS), decoding, SEEDS)
    list(generation.run(8, lambda rows, attempt: model.memory.fitting("rollout", rows, attempt)))
    assert max(passes[2:]) == 4
    for name in ("completion_ids_BC", "unmask_step_BC", "num_steps_B", "forwards_B"):
        assert torch.equal(getattr(generation.rollout, name), getattr(expected, name)), name


def test_completions_of_full_batches_come_before_other_rows_begin(model):
    decoding = dataclasses.replace(Decoding(**BLOCKS), eos_policy="run")
    generation = Generation(model, model.encode_prompts(TEXTS), decoding, SEEDS)
    # By length: 4, 2, 6, 9 | 0, 1, 7, 5 | 8, 3.
    assert list(generation.run(4)) == [[2, 4, 6, 9], [0, 1, 5, 7], [3, 8]]


def test_the_last_block_that_fills_a_batch_goes_first_and_else_the_first_that_rows_wait_for():
    queue = BlockQueue([7, 5, 3, 1, 0], 3)
    assert queue.next(2) == (0, [7, 5])
    queue.advance(0, [7, 5], [5])
    assert queue.next(2) == (0, [3, 1])
    queue.advance(0, [3, 1], [3, 1])
    assert queue.next(2) == (1, [5, 3])
    queue.advance(1, [5, 3], [3])
    assert queue.next(2) == (0, [0])
    queue.advance(0, [0], [])
    assert queue.next(2) == (1, [1])
    queue.advance(1, [1], [1])
    assert queue.next(2) == (2, [3, 1])
    queue.advance(2, [3, 1], [])
    assert not queue
