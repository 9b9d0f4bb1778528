"""The line of metrics.jsonl: what a method reports, and what it does not."""

import json

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.rl.ledger import Progress
from harness.rl.method import ChosenSteps, Prepared
from harness.rl.metrics import update_record
from harness.rl.update import UpdateLog
from harness.rollout import Rewards, ScoredRollouts

DECODING = Decoding(completion_length=8, block_length=8, num_steps=4, temperature=1.0)


@pytest.fixture
def scored(random_model):
    rollout = generate(random_model, random_model.encode_prompts(["1", "2"]), DECODING, torch.arange(2))
    reward_B = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return ScoredRollouts(
        rollout=rollout, rewards=Rewards(total_B=reward_B, parts={"correctness": reward_B}), group_size=2
    )


def record(scored, model, log, *, advantages, chosen=None):
    return update_record(
        Progress(update=1, iteration=1),
        scored,
        Prepared(updates=[], advantages=torch.tensor(advantages), chosen=chosen),
        log,
        model,
        learning_rate=0.1,
        first=True,
        reward_calls=0,
        merging={},
    )


def test_micro_batches_are_joined_and_values_of_any_name_have_their_mean(random_model, scored):
    log = UpdateLog(gradient_norm=2.0)
    for ratio, surprise in (([1.0, 3.0], [4.0]), ([2.0], [5.0])):
        log.add(torch.tensor(0.5), {"ratio": torch.tensor(ratio), "surprise": torch.tensor(surprise)})
    made = record(scored, random_model, log, advantages=[0.5, -0.5])
    assert (made.ratio_min, made.ratio_mean, made.ratio_max, made.terms) == (1.0, 2.0, 3.0, 3)
    assert made.values == {"surprise": 4.5}
    assert (made.kl, made.clip_low, made.clip_high) == (None, None, None)
    assert (made.loss, made.gradient_norm, made.advantage_abs_max) == (1.0, 2.0, 0.5)


def test_an_update_without_an_eligible_row_is_logged_as_such(random_model, scored):
    log = UpdateLog(gradient_norm=0.0)
    log.add(torch.tensor(0.0), {"ratio": torch.zeros(0), "kl": torch.zeros(0), "clip_low": torch.zeros(0, dtype=bool)})
    none_chosen = ChosenSteps(step_BK=torch.full((2, 3), -1))
    made = record(scored, random_model, log, advantages=[], chosen=none_chosen)
    assert made.terms == 0
    assert (made.ratio_min, made.ratio_mean, made.ratio_max, made.kl, made.clip_low) == (None,) * 5
    assert (made.advantage_mean, made.advantage_std, made.advantage_abs_max) == (None,) * 3
    assert made.chosen_steps == [0, 0, 0, 0]
    assert json.loads(json.dumps(made.to_json()))["terms"] == 0


def test_a_method_that_reports_nothing_has_no_terms(random_model, scored):
    log = UpdateLog()
    log.add(torch.tensor(0.25), {})
    made = record(scored, random_model, log, advantages=[0.5, -0.5])
    assert made.terms is None
    assert made.values == {}
