import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.greedy import cheaper_while_sampling, greedy_completions
from harness.diffusion.logprob import behaviour_logprob
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.tiny import END_ID, MASK_ID
from harness.randomness import row_seeds, stream
from harness.rollout import Prompts, RolloutNeeds

PROMPTS = ["12+3=", "7*8=", "hello world:", "a", "0000111122223333"]
REMASKING = ["low_confidence", "random", "entropy"]


def rollout_of(model, decoding, texts=PROMPTS, **options):
    prompts = model.encode_prompts(texts)
    return generate(model, prompts, decoding, row_seeds(len(texts), stream(0, "rows")), **options)


@pytest.mark.parametrize("remasking", REMASKING)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize(("length", "block", "steps"), [(12, 12, 12), (12, 4, 7), (12, 6, 2)])
def test_every_position_is_revealed_once_by_the_planned_number_of_steps(
    random_model, remasking, temperature, length, block, steps
):
    decoding = Decoding(
        completion_length=length,
        block_length=block,
        num_steps=steps,
        temperature=temperature,
        remasking=remasking,
        eos_policy="run",
    )
    rollout = rollout_of(random_model, decoding)
    assert not (rollout.completion_ids_BC == MASK_ID).any()
    counts = [torch.bincount(row, minlength=steps).tolist() for row in rollout.unmask_step_BC.long()]
    assert all(row == counts[0] for row in counts)
    assert max(counts[0]) - min(counts[0]) <= 1
    first_block = rollout.unmask_step_BC[:, :block]
    assert first_block.max() < rollout.unmask_step_BC[:, block:].min() if block < length else True
    assert rollout.forwards_B.sum() == steps * len(PROMPTS)


@torch.no_grad()
def test_recorded_log_probabilities_and_entropies_are_those_of_the_state_before_the_reveal(random_model):
    decoding = Decoding(completion_length=12, block_length=6, num_steps=5, temperature=0.8, eos_policy="run")
    rollout = rollout_of(random_model, decoding)
    everywhere = torch.arange(rollout.completion_length).expand(len(PROMPTS), -1)
    for step in range(5):
        tokens_BL, mask_BL = rollout.state_at(torch.full((len(PROMPTS),), step))
        offset = tokens_BL.shape[1] - rollout.completion_length
        logits = random_model.logits(tokens_BL, mask_BL, everywhere + offset)
        logprob = logits.log_softmax(-1).gather(-1, rollout.completion_ids_BC[:, :, None])[:, :, 0]
        entropy = categorical.entropy(logits.flatten(0, 1)).view(logprob.shape)
        revealed = rollout.revealed_at(torch.full((len(PROMPTS),), step))
        torch.testing.assert_close(rollout.logprob_BC[revealed], logprob[revealed], atol=1e-4, rtol=0)
        torch.testing.assert_close(rollout.entropy_BC[revealed], entropy[revealed], atol=1e-4, rtol=0)


@torch.no_grad()
def test_low_confidence_reveals_the_most_probable_tokens_of_the_block_first(random_model):
    decoding = Decoding(completion_length=8, block_length=8, num_steps=4, eos_policy="run")
    rollout = rollout_of(random_model, decoding)
    tokens_BL, mask_BL = rollout.state_at(torch.zeros(len(PROMPTS), dtype=torch.long))
    places = torch.arange(8).expand(len(PROMPTS), -1) + tokens_BL.shape[1] - 8
    logits = random_model.logits(tokens_BL, mask_BL, places)
    normaliser = logits.logsumexp(-1)
    logits[:, :, MASK_ID] = -torch.inf
    best = (logits.amax(-1) - normaliser).topk(2, dim=1).indices.sort(1).values
    for row, places_of_row in enumerate(best):
        assert (rollout.unmask_step_BC[row] == 0).nonzero()[:, 0].tolist() == places_of_row.tolist()


EIGHT = [*PROMPTS, "x", "what is 2+2?", "4444"]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("remasking", REMASKING)
@pytest.mark.parametrize("truncation", [{}, {"top_k": 20, "top_p": 0.9}, {"guidance_scale": 0.5}], ids=str)
def test_batch_size_order_and_padding_never_change_a_completion(random_model, temperature, remasking, truncation):
    decoding = Decoding(
        completion_length=12, block_length=6, num_steps=6, temperature=temperature, remasking=remasking, **truncation
    )
    seeds = row_seeds(8, stream(0, "rows"))
    together = generate(random_model, random_model.encode_prompts(EIGHT), decoding, seeds)
    for rows in ([0], [3], [6], [4, 2, 0], [7, 5, 6], [1, 0, 3, 2, 4, 7, 6, 5]):
        prompts = random_model.encode_prompts([EIGHT[row] for row in rows])
        alone = generate(random_model, prompts, decoding, seeds[rows])
        assert torch.equal(alone.completion_ids_BC, together.completion_ids_BC[rows])
        assert torch.equal(alone.unmask_step_BC, together.unmask_step_BC[rows])


def test_a_row_of_its_own_length_is_completed_as_if_all_had_that_length(random_model):
    decoding = Decoding(completion_length=12, block_length=4, num_steps=6, temperature=0.9, eos_policy="run")
    seeds = row_seeds(3, stream(0, "rows"))
    prompts = random_model.encode_prompts(EIGHT[:3])
    mixed = generate(random_model, prompts, decoding, seeds, length_B=torch.tensor([4, 12, 8]))
    assert mixed.num_steps_B.tolist() == [2, 6, 4]
    for row, length in enumerate([4, 12, 8]):
        short = dataclasses.replace(decoding, completion_length=length, num_steps=length // 2)
        alone = generate(random_model, prompts.rows(slice(row, row + 1)), short, seeds[row : row + 1])
        assert torch.equal(alone.completion_ids_BC[0], mixed.completion_ids_BC[row, :length])
        assert (mixed.completion_ids_BC[row, length:] == END_ID).all()
        assert (mixed.unmask_step_BC[row, length:] == 6).all()


@pytest.mark.parametrize("length", [0, 6, 16])
def test_a_length_that_is_no_multiple_of_the_block_is_refused(random_model, length):
    decoding = Decoding(completion_length=12, block_length=4, num_steps=6)
    with pytest.raises(UserError, match="multiples of block_length=4"):
        generate(
            random_model,
            random_model.encode_prompts(["abc"]),
            decoding,
            torch.zeros(1, dtype=torch.long),
            length_B=torch.tensor([length]),
        )


def test_the_behaviour_record_is_of_the_tempered_truncated_distribution(random_model):
    decoding = Decoding(
        completion_length=8, block_length=8, num_steps=4, temperature=0.6, top_k=10, top_p=0.9, eos_policy="run"
    )
    rollout = rollout_of(random_model, decoding, needs=RolloutNeeds(behaviour=True))
    kept = rollout.support_ids_BCk == rollout.completion_ids_BC[:, :, None]
    assert (kept.sum(2) == 1).all()
    for step in range(4):
        step_B = torch.full((len(PROMPTS),), step)
        tokens_BL, mask_BL = rollout.state_at(step_B)
        places = torch.arange(8).expand(len(PROMPTS), -1) + tokens_BL.shape[1] - 8
        with torch.no_grad():
            logits = random_model.logits(tokens_BL, mask_BL, places)
        chosen = behaviour_logprob(
            logits, rollout.completion_ids_BC, temperature=0.6, support_Bnk=rollout.support_ids_BCk
        )
        revealed = rollout.revealed_at(step_B)
        torch.testing.assert_close(rollout.behaviour_logprob_BC[revealed], chosen[revealed], atol=1e-4, rtol=0)


def test_a_support_without_a_bound_cannot_be_recorded(random_model):
    decoding = Decoding(completion_length=8, block_length=8, num_steps=4, temperature=1.0, top_p=0.9)
    with pytest.raises(UserError, match="top_k"):
        rollout_of(random_model, decoding, needs=RolloutNeeds(behaviour=True))


def test_temperature_zero_ignores_the_seeds_and_a_high_one_does_not(random_model):
    prompts = random_model.encode_prompts(PROMPTS)
    greedy = Decoding(completion_length=8, block_length=8, num_steps=4)
    hot = dataclasses.replace(greedy, temperature=1.0)
    one, two = (row_seeds(len(PROMPTS), stream(seed, "rows")) for seed in (1, 2))
    same = [generate(random_model, prompts, greedy, seeds).completion_ids_BC for seeds in (one, two)]
    assert torch.equal(*same)
    other = [generate(random_model, prompts, hot, seeds).completion_ids_BC for seeds in (one, two)]
    assert not torch.equal(*other)


class EndsAfterFirstBlock:
    """Makes the model predict the end token everywhere for some rows, as if they had nothing more to say."""

    def __init__(self, model, texts):
        self.model = model
        self.marker = model.tokenizer.encode("#")[0]

    def __enter__(self):
        self.original = self.model.predictor.hidden
        head = self.model.predictor.head

        def hidden(tokens_BL, mask_BL, clean_BL):
            states = self.original(tokens_BL, mask_BL)
            flag = (tokens_BL == self.marker).any(1)[:, None, None].expand(*states.shape[:2], 1)
            return torch.cat([states, flag.to(states.dtype)], 2)

        def flagged_head(states):
            logits = head(states[..., :-1])
            logits[..., END_ID] += 1e4 * states[..., -1]
            return logits

        self.model.predictor.hidden, self.model.predictor.head = hidden, flagged_head

    def __exit__(self, *error):
        del self.model.predictor.hidden, self.model.predictor.head


def test_rows_whose_block_is_all_end_of_text_stop_and_are_filled(random_model):
    texts = ["ab#", "abc", "12#"]
    decoding = Decoding(completion_length=12, block_length=4, num_steps=6)
    with EndsAfterFirstBlock(random_model, texts):
        stopped = rollout_of(random_model, decoding, texts)
        full = rollout_of(random_model, dataclasses.replace(decoding, eos_policy="run"), texts)
    assert stopped.num_steps_B.tolist() == [2, 6, 2]
    assert (stopped.completion_ids_BC[[0, 2]] == END_ID).all()
    assert (stopped.unmask_step_BC[[0, 2], 4:] == 6).all()
    assert (stopped.unmask_step_BC[[0, 2], :4] < 2).all()
    assert (stopped.logprob_BC[[0, 2], 4:] == 0).all()
    assert torch.equal(stopped.completion_ids_BC, full.completion_ids_BC)
    assert stopped.forwards_B.sum() == 3 * 2 + 1 * 4
    assert full.forwards_B.sum() == 3 * 6


def test_rows_that_are_sure_of_the_end_stop_after_one_step_of_a_threshold(random_model):
    texts = ["ab#", "abc", "12#"]
    decoding = Decoding(completion_length=12, block_length=4, threshold=0.99)
    with EndsAfterFirstBlock(random_model, texts):
        stopped = rollout_of(random_model, decoding, texts)
    assert stopped.num_steps_B[[0, 2]].tolist() == [1, 1]
    assert (stopped.completion_ids_BC[[0, 2]] == END_ID).all()
    assert (stopped.unmask_step_BC[[0, 2], :4] == 0).all()
    assert (stopped.unmask_step_BC[[0, 2], 4:] == stopped.num_steps).all()
    assert stopped.num_steps_B[1] > 3
    # They wait for the other row in their one block.
    waited = stopped.unmask_step_BC[1, :4].max() + 1
    assert stopped.forwards_B.tolist() == [waited, stopped.num_steps_B[1], waited]


@pytest.mark.parametrize("decoding", [Decoding(completion_length=12, block_length=4, num_steps=7, temperature=0.9)])
def test_greedy_completions_are_the_same_recorded_and_lazily(random_model, decoding):
    decoding = dataclasses.replace(decoding, eos_policy="run")
    recorded = rollout_of(random_model, decoding, needs=RolloutNeeds(argmax=True))
    step_BK = torch.arange(7).expand(len(PROMPTS), -1)
    with random_model.meter.measure() as eagerly:
        eager = greedy_completions(random_model, recorded, step_BK)
    assert eagerly.forwards == 0
    with random_model.meter.measure() as lazily:
        lazy = greedy_completions(random_model, dataclasses.replace(recorded, argmax_BTC=None), step_BK)
    assert torch.equal(eager, lazy)
    assert not (eager == MASK_ID).any()
    assert lazily.forwards == 7 * len(PROMPTS)
    state = recorded.completion_at(torch.full((len(PROMPTS),), 3))
    kept = state != MASK_ID
    assert torch.equal(eager[:, 3][kept], state[kept])


def test_recording_is_cheaper_for_a_wide_trunk_and_going_back_is_for_a_wide_vocabulary(random_model):
    decoding = Decoding(completion_length=256, block_length=32, num_steps=128)
    shape = type(random_model.shape)
    llada = shape(layers=32, hidden=4096, intermediate=12288, heads=32, kv_heads=32, head_dim=128, vocabulary=126464)
    narrow = shape(layers=16, hidden=512, intermediate=1376, heads=8, kv_heads=8, head_dim=64, vocabulary=126464)
    assert cheaper_while_sampling(llada, decoding, prompt_length=200, num_states=8)
    assert not cheaper_while_sampling(narrow, decoding, prompt_length=64, num_states=8)


def test_the_trajectory_never_changes_a_revealed_token(random_model):
    rollout = rollout_of(random_model, Decoding(completion_length=8, block_length=4, num_steps=5, temperature=1.0))
    previous = rollout.completion_at(torch.zeros(len(PROMPTS)))
    assert (previous == MASK_ID).all()
    for step in range(1, 6):
        state = rollout.completion_at(torch.full((len(PROMPTS),), step))
        kept = previous != MASK_ID
        assert torch.equal(state[kept], previous[kept])
        previous = state
    assert torch.equal(previous, rollout.completion_ids_BC)


def test_no_padding_needs_no_mask(random_model):
    prompts = random_model.encode_prompts(["abc", "xyz"])
    assert prompts.mask_BP is None
    padded = random_model.encode_prompts(["abc", "z"])
    assert isinstance(padded, Prompts)
    assert padded.mask_BP.tolist() == [[True, True, True], [False, False, True]]
