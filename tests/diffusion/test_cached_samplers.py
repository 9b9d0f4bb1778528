"""Key/value caches and confidence rules: what is revealed, what a pass computes, and what it costs."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.decoding import Decoding
from harness.diffusion.remasking import sure_enough
from harness.diffusion.sampler import generate
from harness.diffusion.schedule import dllm_counts, dream_cached_counts, reveal_counts
from harness.errors import UserError
from harness.models.key_values import KeyValueCache
from harness.models.tiny import MASK_ID
from harness.randomness import row_seeds, stream, uniforms
from harness.rollout import RolloutNeeds

PROMPTS = ["12+3=", "7*8=", "hello world:", "a", "0000111122223333", "x"]
RULES = [{}, {"threshold": 0.3}, {"factor": 2.0}, {"remasking": "entropy", "entropy_bound": 5.0}]
CACHES = ["none", "prefix", "dual"]


def decoding_with(**options):
    return Decoding(**{"completion_length": 12, "block_length": 4, "num_steps": 6, "eos_policy": "run", **options})


def rollout_of(model, decoding, rows=slice(None), **options):
    seeds = row_seeds(len(PROMPTS), stream(0, "rows"))
    return generate(model, model.encode_prompts(PROMPTS[rows]), decoding, seeds[rows], **options)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("cache", CACHES)
def test_every_row_is_completed_block_by_block_and_alone_as_in_a_batch(random_model, cache, rule, temperature):
    decoding = decoding_with(cache=cache, temperature=temperature, **rule)
    together = rollout_of(random_model, decoding)
    assert not (together.completion_ids_BC == MASK_ID).any()
    for row, step_C in enumerate(together.unmask_step_BC.tolist()):
        steps = sorted(set(step_C))
        assert steps == list(range(together.num_steps_B[row]))
        assert max(step_C[:4]) < min(step_C[4:8])
        assert max(step_C[4:8]) < min(step_C[8:])
        alone = rollout_of(random_model, decoding, slice(row, row + 1))
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
        assert torch.equal(alone.unmask_step_BC[0], together.unmask_step_BC[row])
        assert alone.forwards_B[0] == len(steps) <= together.forwards_B[row]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(("cache", "widths"), [("prefix", [28, 12, 28, 8, 28, 4]), ("dual", [28, 4, 28, 4, 28, 4])])
def test_passes_after_the_first_of_a_block_compute_what_the_cache_leaves_open(random_model, cache, widths, rule):
    seen = []

    def see(module, arguments, options):
        seen.append((options["past_key_values"].first, options["input_ids"].clone()))

    random_model.predictor.transformer.model.register_forward_pre_hook(see, with_kwargs=True)
    rollout = rollout_of(random_model, decoding_with(cache=cache, **rule))
    if not rule:
        assert [tokens.shape[1] for _, tokens in seen] == widths
    final_BL, _ = rollout.state_at(torch.full((len(PROMPTS),), rollout.num_steps))
    for first, tokens_Bq in seen:
        part_Bq = final_BL[:, first : first + tokens_Bq.shape[1]]
        assert torch.equal(tokens_Bq[tokens_Bq != MASK_ID], part_Bq[tokens_Bq != MASK_ID])


@torch.no_grad()
def test_a_pass_over_a_part_gives_the_states_of_the_whole_where_nothing_else_has_changed(random_model):
    prompts = random_model.encode_prompts(["abc", "12345678"])
    tokens_BL, mask_BL = prompts.ids_BP.clone(), prompts.mask_BP
    cache = KeyValueCache()
    whole = random_model.hidden(tokens_BL, mask_BL)
    first, predicted = random_model.cached_hidden(tokens_BL, mask_BL, cache)
    assert torch.equal(first, whole)
    assert predicted == 0
    cache.first = 5
    part, predicted = random_model.cached_hidden(tokens_BL[:, 5:7], mask_BL, cache)
    assert predicted == 5
    torch.testing.assert_close(part, whole[:, 5:7], atol=1e-5, rtol=0)
    tokens_BL[:, 5:7] = tokens_BL[:, 6:8]
    changed, _ = random_model.cached_hidden(tokens_BL[:, 5:7], mask_BL, cache)
    assert (changed - whole[:, 5:7]).abs().max() > 0.1


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("cache", CACHES)
def test_a_rollout_is_counted_within_one_per_cent_of_torch(random_model, cache, rule):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        rollout = rollout_of(random_model, decoding_with(cache=cache, **rule))
    assert rollout.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_log_probability_of_a_first_pass_is_exact(random_model):
    plain, cached = (rollout_of(random_model, decoding_with(cache=cache)) for cache in ("none", "dual"))
    first_BC = plain.unmask_step_BC == 0
    assert torch.equal(first_BC, cached.unmask_step_BC == 0)
    assert torch.equal(plain.logprob_BC[first_BC], cached.logprob_BC[first_BC])
    assert not torch.equal(plain.logprob_BC, cached.logprob_BC)


PROBABILITY = torch.tensor([[0.2, 0.9, -torch.inf, 0.6, 0.7], [-torch.inf, 0.1, 0.3, -torch.inf, 0.3]])


@pytest.mark.parametrize(
    ("rule", "revealed"),
    [
        ({"threshold": 0.6}, [[1, 3, 4], [2]]),
        ({"threshold": 0.61}, [[1, 4], [2]]),
        ({"threshold": 0.3}, [[1, 3, 4], [2, 4]]),
        # Ranks 2 and 3 have to reach 1 - 0.9 / 3 = 0.7 and 1 - 0.9 / 4 = 0.775.
        ({"factor": 0.9001}, [[1, 4], [2]]),
        ({"factor": 0.89}, [[1], [2]]),
        # 1 - 2.1 / 3 = 0.3, 1 - 2.1 / 4 = 0.475, 1 - 2.1 / 5 = 0.58.
        ({"factor": 2.11}, [[1, 3, 4], [2, 4]]),
    ],
)
def test_what_is_sure_enough_is_revealed_and_at_least_the_surest(rule, revealed):
    assert [row.nonzero()[:, 0].tolist() for row in sure_enough(PROBABILITY, Decoding(**rule))] == revealed


def test_at_least_so_many_are_revealed_and_a_threshold_may_have_to_be_exceeded():
    def chosen(at_least, **rule):
        found = sure_enough(PROBABILITY, Decoding(**rule), at_least=at_least, strictly=True)
        return [row.nonzero()[:, 0].tolist() for row in found]

    assert chosen(2) == [[1, 4], [2, 4]]
    assert chosen(1, threshold=0.9) == [[1], [2]]
    assert chosen(1, threshold=0.7) == [[1], [2]]
    assert chosen(1, threshold=0.69) == [[1, 4], [2]]
    assert chosen(2, threshold=0.69) == [[1, 4], [2, 4]]


def test_the_lowest_entropies_are_revealed_whose_sum_stays_below_the_bound():
    negative_entropy = torch.tensor([[-0.5, -0.25, -torch.inf, -1.0, -0.25]])
    for bound, revealed in (
        (0.2, [1]),
        (0.5, [1]),
        (0.51, [1, 4]),
        (1.0, [1, 4]),
        (1.01, [0, 1, 4]),
        (9.0, [0, 1, 3, 4]),
    ):
        found = sure_enough(negative_entropy, Decoding(entropy_bound=bound))
        assert found[0].nonzero()[:, 0].tolist() == revealed, bound


def test_sequential_steps_reveal_the_first_masked_positions(random_model):
    for temperature in (0.0, 0.9):
        rollout = rollout_of(random_model, decoding_with(remasking="sequential", temperature=temperature))
        assert rollout.unmask_step_BC.tolist() == [[step for step in range(6) for _ in range(2)]] * len(PROMPTS)


def test_counts_are_those_of_dllm_and_of_dream_in_blocks():
    assert dllm_counts(8, 3) == [3, 2, 3]
    assert dllm_counts(4, 7) == [1, 1, 1, 1]
    assert reveal_counts(Decoding(completion_length=10, block_length=4, num_steps=5, schedule="dllm")) == [
        [2, 2],
        [2, 2],
        [1, 1],
    ]
    assert dream_cached_counts(4, 4) == [1, 0, 1, 2]
    assert dream_cached_counts(4, 1) == [4]


def test_one_draw_belongs_to_a_row_its_step_and_a_position():
    seed_B, step_B = torch.tensor([3, 2**62 + 5]), torch.tensor([4, 0])
    together = uniforms(seed_B, step_B, torch.tensor([[0, 7], [7, 1]]), 1)
    for row in range(2):
        one = slice(row, row + 1)
        alone = uniforms(seed_B[one], int(step_B[row]), torch.tensor([[0, 7], [7, 1]])[one], 1)
        assert torch.equal(together[one], alone)


def test_greedy_completions_cannot_be_recorded_from_passes_that_leave_positions_out(random_model):
    for options in ({"cache": "dual"}, {"threshold": 0.5}):
        with pytest.raises(UserError, match="greedy=lazy"):
            rollout_of(random_model, decoding_with(**options), needs=RolloutNeeds(argmax=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "suffix"}, "dual, none, prefix"),
        ({"threshold": 1.5}, "a probability"),
        ({"threshold": 0.9, "factor": 1.0}, "rollout.threshold and rollout.factor are two rules.*one of them to 0"),
        ({"factor": 0.9, "entropy_bound": 1.0}, "rollout.factor and rollout.entropy_bound are two rules"),
        ({"entropy_bound": -1.0}, "negative"),
        ({"entropy_bound": 1.0}, "set rollout.remasking=entropy"),
        ({"entropy_bound": 1.0, "remasking": "entropy", "guidance_scale": 0.5}, "guidance_scale"),
        ({"factor": -1.0}, "negative"),
        ({"factor": 1.0, "remasking": "entropy"}, "low_confidence"),
        ({"cache": "prefix", "guidance_scale": 0.5}, "guidance_scale"),
        ({"schedule": "dream"}, "without a cache"),
    ],
)
def test_rules_that_do_not_go_together_are_refused(options, message):
    decoding = decoding_with(**options)
    with pytest.raises(UserError, match=message):
        decoding.check("rollout")


def test_blocks_of_dream_and_a_short_last_block_of_dllm_are_allowed():
    decoding_with(schedule="dream", cache="dual").check("rollout")
    dataclasses.replace(decoding_with(schedule="dllm"), completion_length=10).check("rollout")


def test_a_record_names_what_is_on_and_is_as_it_was_where_nothing_is():
    plain = decoding_with().to_record()
    assert not {"cache", "threshold", "factor", "entropy_bound"} & set(plain)
    assert decoding_with(cache="dual", threshold=0.9).to_record() == {**plain, "cache": "dual", "threshold": 0.9}
