"""How near an approximate decoding comes to exact decoding."""

import pytest
import torch

from harness.config.decoding import Decoding
from harness.data.sources import parse_source
from harness.diffusion.sampler import generate
from harness.distributed.shard import ALONE
from harness.evaluation.agreement import logprob_gap, token_agreement
from harness.evaluation.completions import item_seed
from harness.registry import get_task

DUAL = Decoding(completion_length=12, block_length=4, num_steps=6, cache="dual", eos_policy="run")


def test_tokens_are_compared_place_by_place_up_to_the_later_end():
    # Two of three, all of two, one of three (the other two are beyond the end), none of none.
    ours = [[1, 2, 3], [4, 5], [6, 7, 8], []]
    exact = [(1, 9, 3), (4, 5), (6,), ()]
    found = token_agreement(ours, exact)
    assert found.tokens == (2 + 2 + 1) / (3 + 2 + 3)
    assert found.completions == 2 / 4


def test_a_token_too_early_moves_all_behind_it():
    assert token_agreement([[1, 2, 3, 4]], [[2, 3, 4]]).tokens == 0.0


def test_completions_without_a_token_agree():
    assert token_agreement([[], []], [[], []]).tokens == 1.0


def examples_and_prompts():
    examples = get_task("countdown")().examples("test", parse_source("builtin"))[:5]
    return examples, ["12+3=", "7*8=", "hello world:", "a", "abc"]


def by_hand(model, examples, prompts, decoding):
    """Every row alone, a whole pass for every step."""
    gaps = []
    for example, prompt in zip(examples, prompts, strict=True):
        rollout = generate(model, model.encode_prompts([prompt]), decoding, torch.tensor([item_seed(example.id, 3)]))
        for step in range(rollout.num_steps):
            tokens_BL, mask_BL = rollout.state_at(torch.tensor([step]))
            with torch.no_grad():
                logprob_CV = model.completion_logits(tokens_BL, mask_BL, 12)[0].log_softmax(-1)
            chosen_C = logprob_CV.gather(1, rollout.completion_ids_BC[0][:, None])[:, 0]
            revealed_C = rollout.unmask_step_BC[0] == step
            gaps += (rollout.logprob_BC[0] - chosen_C).abs()[revealed_C].tolist()
    return gaps


@pytest.mark.parametrize("rule", [{}, {"threshold": 0.3}], ids=str)
def test_the_gap_is_that_to_whole_passes_in_the_same_states(random_model, rule):
    decoding = Decoding(**{**vars(DUAL), **rule})
    examples, prompts = examples_and_prompts()
    gap = logprob_gap(random_model, examples, prompts, decoding, batch_size=2, seed=3, shard=ALONE)
    expected = by_hand(random_model, examples, prompts, decoding)
    assert gap.tokens == len(expected) == 5 * 12
    assert gap.mean == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    assert gap.largest == pytest.approx(max(expected), abs=1e-4)
    assert gap.largest > 0.01


def test_whole_passes_leave_no_gap(random_model):
    examples, prompts = examples_and_prompts()
    exact = Decoding(**{**vars(DUAL), "cache": "none", "threshold": 0.3})
    gap = logprob_gap(random_model, examples, prompts, exact, batch_size=2, seed=0, shard=ALONE)
    assert (gap.mean, gap.largest) == (0.0, 0.0)
