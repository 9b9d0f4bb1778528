"""Rollouts in batches of several sizes: the same completions, the same account, and who is told of them."""

import pytest
import torch

from harness.app.plan import RunRequest, plan
from harness.distributed.shard import ALONE
from harness.rl.collect import Collector
from harness.task.base import Example

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 2,
    "budget": {"updates": 1},
    "rollout": {"completion_length": 16, "block_length": 4, "num_steps": 8, "temperature": 0.9, "eos_policy": "stop"},
}


@pytest.fixture
def collected(tmp_path, random_model, monkeypatch):
    """A rollout in batches of a size, and the rows that were told as finished with the completions they had then."""
    # Rows end after every block whose first token has an even number.
    monkeypatch.setattr(random_model, "is_end", lambda ids_Bn: (ids_Bn[:, :1] % 2 == 0).expand_as(ids_Bn))
    train = [Example(id=str(index), question="1" * (5 * index + 1), target={}) for index in range(4)]

    def collect(size):
        overrides = SMALL | {"execution.rollout_batch_size": size}
        planned = plan(RunRequest(method="egspo", task="gsm8k", runs=tmp_path, overrides=overrides))
        config, execution = planned.resolved.config, planned.resolved.execution
        collector = Collector(
            config,
            execution,
            method=planned.method,
            task=planned.task,
            model=random_model,
            train=train,
            shard=ALONE,
        )
        told = []
        rollout = collector.rollout(
            collector.examples(0), 0, lambda row_N, ids_NC: told.extend(zip(row_N.tolist(), ids_NC, strict=True))
        )
        return rollout, told

    return collect


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_size_of_batches_changes_no_completion_and_no_account(collected, size):
    whole, _ = collected(0)
    parts, _ = collected(size)
    assert len(whole.num_steps_B.unique()) > 1
    for name in ("completion_ids_BC", "unmask_step_BC", "num_steps_B", "forwards_B"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name
    # Budgets and learning rates go by it.
    assert parts.flops == pytest.approx(whole.flops, rel=1e-12)


def test_every_row_is_told_once_it_is_finished(collected):
    rollout, told = collected(3)
    assert sorted(row for row, _ in told) == list(range(8))
    assert [row for row, _ in told] != list(range(8))
    assert all(torch.equal(ids_C, rollout.completion_ids_BC[row]) for row, ids_C in told)
