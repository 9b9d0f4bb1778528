"""The gradient estimators that are compared: those that the methods' own files name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from harness import registry
from harness.diagnose.mdp import LENGTH, Mdp
from harness.rl.estimator import Estimator, Setting
from harness.rl.method import LossPart, Prepared
from harness.rollout import ScoredRollouts

GROUP_SIZE = 2
STEPS = LENGTH
SETTING = Setting(num_steps=STEPS, group_size=GROUP_SIZE)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An estimator under the name of its method."""

    name: str
    estimator: Estimator

    def draw(self, mdp: Mdp, scored: ScoredRollouts, generator: torch.Generator) -> Any:
        """The draws of one update."""
        sampled = self.estimator.sampled or self.estimator.method.draw
        return sampled(scored, mdp.policy, generator)

    def parts(self, mdp: Mdp, scored: ScoredRollouts, draws: object) -> list[LossPart]:
        """The parts of the first update for given draws."""
        prepared: Prepared = self.estimator.method.prepare(scored, mdp.policy, mdp.score, draws)
        return list(prepared.updates[0].parts)


def all_candidates() -> list[Candidate]:
    """Every estimator of every method that is registered."""
    return [
        Candidate(name=name, estimator=estimator)
        for name in registry.names("method")
        for estimator in registry.get_method(name).estimators(SETTING)
    ]
