"""Rewards whose scoring begins before they are asked for."""

import threading

import torch

from harness.distributed.shard import ALONE
from harness.rl.rewards import CountedScores, TaskRewards
from harness.task.base import Example, Reward


class Lengths:
    """A task that pays by the length of the text, as other processes find it."""

    scores_elsewhere = True

    def __init__(self):
        self.began, self.texts = threading.Event(), []

    def rewards(self, examples, completions):
        self.texts += completions
        self.began.set()
        return [Reward.of({"correctness": float(len(text))}) for text in completions]


def test_expected_completions_are_scored_at_once_and_each_text_of_an_example_once(random_model):
    task, examples = Lengths(), [Example(id=str(row // 2), question="", target={}) for row in range(4)]
    end = random_model.special.end_ids[0]
    ids_NC = torch.tensor([[5, end, end], [5, 6, end], [5, end, end], [5, 6, 7]])
    with CountedScores(TaskRewards(task, random_model, examples), ALONE) as score:
        score.expect(torch.tensor([1, 2]), ids_NC[[1, 2]])
        assert task.began.wait(60)
        assert score.calls == 0
        assert score(torch.arange(4), ids_NC).total_B.tolist() == [1, 2, 1, 3]
        assert score(torch.tensor([3, 0]), ids_NC[[0, 0]]).total_B.tolist() == [1, 1]
    assert score.calls == 6
    texts = [random_model.tokenizer.decode(ids) for ids in ([5], [5, 6], [5, 6, 7])]
    # The first example's two texts and the second's two.
    assert sorted(task.texts) == sorted([texts[0], texts[1], texts[0], texts[2]])
