"""Groups of two completions, each a batch of its own: all there are, or some drawn; and the estimates made from them.

A method's losses add up over rows, with constants that `prepare` takes from the batch: numbers of tokens or states,
weights relative to the other rows. So groups may share a batch where that leaves these constants as they are, but for
the number of groups, and a copy of the table per group tells their gradients apart. How far they may share is found out
by trying (`sharing`).

Axes: X groups, B = 2 X rows; D entries of the table, flat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.diagnose.estimators import GROUP_SIZE, Candidate
from harness.diagnose.mdp import LENGTH, RANDOM, TOKENS, Mdp, take
from harness.randomness import stream
from harness.rl.masked import until_first_end
from harness.rollout import ScoredRollouts

TRIED = 7
SAME = 1e-5


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Pairs of trajectories and how much each counts. index_XG: the trajectories. weight_X: sums to 1 over all groups,
    or over those of a sample."""

    index_XG: Tensor
    weight_X: Tensor

    def __len__(self) -> int:
        return len(self.index_XG)

    def those(self, index_X: Tensor) -> Groups:
        """Some of them."""
        return Groups(index_XG=self.index_XG[index_X], weight_X=self.weight_X[index_X])


def all_groups(mdp: Mdp) -> Groups:
    """Every unordered pair; a pair of different trajectories stands for both orders."""
    number = mdp.rollout.num_rows
    first_X, second_X = torch.triu_indices(number, number)
    twice_X = torch.where(first_X == second_X, 1.0, 2.0).double()
    return Groups(
        index_XG=torch.stack([first_X, second_X], 1),
        weight_X=twice_X * mdp.probability_N[first_X] * mdp.probability_N[second_X],
    )


def sample(groups: Groups, number: int, generator: torch.Generator) -> Groups:
    """So many groups of equal weight, each as often as its probability asks for, rounded up or down at random."""
    point_X = (torch.arange(number) + torch.rand(1, generator=generator, dtype=torch.float64)) / number
    index_X = torch.searchsorted(groups.weight_X.cumsum(0), point_X).clamp_max(len(groups) - 1)
    return Groups(index_XG=groups.index_XG[index_X], weight_X=torch.full((number,), 1 / number, dtype=torch.float64))


def scored_rollouts(mdp: Mdp, groups: Groups, copy_B: Tensor | None = None) -> ScoredRollouts:
    """The groups as one batch, each a micro-batch of its own where methods ask for that. copy_B: of the table, by row;
    by default one per group."""
    if copy_B is None:
        copy_B = torch.arange(len(groups)).repeat_interleave(GROUP_SIZE)
    rollout = take(mdp.rollout, groups.index_XG.flatten(), copy_B)
    rewards = mdp.rewards_of(rollout.completion_ids_BC)
    return ScoredRollouts(rollout=rollout, rewards=rewards, group_size=GROUP_SIZE, micro_batch_rows=GROUP_SIZE)


def one_per_text(mdp: Mdp, groups: Groups) -> Groups:
    """The groups with one trajectory for every completion, and all that ends in the same completions as one group."""
    texts, text_N = TOKENS**LENGTH, mdp.text_N.tolist()
    first_T = torch.tensor([text_N.index(text) for text in range(texts)])
    text_XG = mdp.text_N[groups.index_XG].sort(1).values
    pair_Y, place_X = _of_both(text_XG, texts).unique(return_inverse=True)
    weight_Y = groups.weight_X.new_zeros(len(pair_Y)).index_add(0, place_X, groups.weight_X)
    return Groups(index_XG=first_T[torch.stack([pair_Y % texts, pair_Y // texts], 1)], weight_X=weight_Y)


# What groups of one batch have in common.

Key = Callable[[Mdp, Groups], Tensor]
"""A number (X,) of every group; groups with the same number share a batch."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Which groups may be computed together. key: for the groups of a batch. by_text: whether an estimate depends on
    the completions alone, and not on the order of their tokens."""

    key: Key
    by_text: bool


def anything(mdp: Mdp, groups: Groups) -> Tensor:
    """Nothing."""
    return torch.zeros(len(groups), dtype=torch.long)


def lengths(mdp: Mdp, groups: Groups) -> Tensor:
    """Tokens up to the first end token, and whether the rewards differ."""
    counted_N = until_first_end(mdp.policy.is_end(mdp.rollout.completion_ids_BC)).sum(1)
    reward_XG = mdp.rewards_of(mdp.rollout.completion_ids_BC).total_B[groups.index_XG]
    differ_X = (reward_XG[:, 0] != reward_XG[:, 1]).long()
    return 2 * _of_both(counted_N[groups.index_XG], LENGTH + 1) + differ_X


def ending_steps(mdp: Mdp, groups: Groups) -> Tensor:
    """These, and which steps revealed end tokens."""
    is_end_NC = mdp.policy.is_end(mdp.rollout.completion_ids_BC)
    pattern_N = (is_end_NC.long() << mdp.rollout.unmask_step_BC.long()).sum(1)
    patterns = 2**LENGTH
    return lengths(mdp, groups) * patterns**GROUP_SIZE + _of_both(pattern_N[groups.index_XG], patterns)


def texts(mdp: Mdp, groups: Groups) -> Tensor:
    """The completions."""
    return _of_both(mdp.text_N[groups.index_XG].sort(1).values, TOKENS**LENGTH)


def nothing(mdp: Mdp, groups: Groups) -> Tensor:
    """Every group is a batch."""
    return torch.arange(len(groups))


def _of_both(value_XG: Tensor, limit: int) -> Tensor:
    """One number (X,) for the values of both, which are below `limit`."""
    return value_XG @ limit ** torch.arange(GROUP_SIZE)


KEYS: tuple[Key, ...] = (anything, lengths, ending_steps, texts, nothing)
"""From few batches to many."""


def batches(mdp: Mdp, groups: Groups, key: Key) -> Iterator[Groups]:
    """The groups that share a batch."""
    key_X = key(mdp, groups).unique(return_inverse=True)[1]
    order_X = key_X.argsort(stable=True)
    for index_X in order_X.split(key_X.bincount().tolist()):
        yield groups.those(index_X)


def estimates(mdp: Mdp, groups: Groups, candidate: Candidate, draws: Any) -> Tensor:
    """The estimate of every group (X, D), not scaled yet; draws: those of the groups as one batch."""
    scored = scored_rollouts(mdp, groups)
    return _gradient(mdp, candidate, scored, draws, copies=len(groups)).mul_(-len(groups))


def row_estimates(mdp: Mdp, groups: Groups, candidate: Candidate, draws: Any) -> Tensor:
    """What every row adds to its group's estimate (B, D), not scaled yet."""
    rows = len(groups) * GROUP_SIZE
    scored = scored_rollouts(mdp, groups, torch.arange(rows))
    return _gradient(mdp, candidate, scored, draws, copies=rows).mul_(-len(groups))


def _gradient(mdp: Mdp, candidate: Candidate, scored: ScoredRollouts, draws: Any, *, copies: int) -> Tensor:
    """The gradient of the first update by copy of the table (copies, D)."""
    with mdp.copies(copies) as table_RCSW:
        for part in candidate.parts(mdp, scored, draws):
            candidate.estimator.method.loss(mdp.policy, part)[0].backward()
        gradient_RCSW = table_RCSW.grad if table_RCSW.grad is not None else torch.zeros_like(table_RCSW)
        return gradient_RCSW.flatten(1)


def sharing(mdp: Mdp, groups: Groups, candidate: Candidate, seed: int = 0) -> Sharing:
    """The first of KEYS under which the estimates are those of every group alone, on a few of the groups."""
    for key in KEYS[:-1]:
        few = _some(mdp, groups, key)
        if all(_may_share(mdp, batch, candidate, seed) for batch in few):
            return Sharing(key=key, by_text=mdp.order == RANDOM and _is_of_text(mdp, few[0], candidate, seed))
    return Sharing(key=nothing, by_text=False)


def _some(mdp: Mdp, groups: Groups, key: Key) -> Sequence[Groups]:
    """A few groups of the two largest batches, spread over each. Groups whose rewards are equal, which most methods
    learn nothing from, do not make a batch large."""
    reward_N = mdp.rewards_of(mdp.rollout.completion_ids_BC).total_B

    def size(batch: Groups) -> int:
        first_X, second_X = reward_N[batch.index_XG].unbind(1)
        return int((first_X != second_X).sum())

    largest = sorted(batches(mdp, groups, key), key=size, reverse=True)[:2]
    return [
        batch.those(torch.linspace(0, len(batch) - 1, TRIED).long()) if len(batch) > TRIED else batch
        for batch in largest
    ]


def _may_share(mdp: Mdp, batch: Groups, candidate: Candidate, seed: int) -> bool:
    """Whether groups in one batch have the estimates that each has alone, for the same draws."""
    draws = candidate.draw(mdp, scored_rollouts(mdp, batch), stream(seed, "tried"))
    alone = []
    for place in range(len(batch)):
        rows = slice(place * GROUP_SIZE, (place + 1) * GROUP_SIZE)
        own = draws_of_rows(draws, rows, len(batch) * GROUP_SIZE)
        alone.append(estimates(mdp, batch.those(torch.tensor([place])), candidate, own))
    return _are_same(estimates(mdp, batch, candidate, draws), torch.cat(alone))


def _is_of_text(mdp: Mdp, batch: Groups, candidate: Candidate, seed: int) -> bool:
    """Whether the estimates are the same where the same completions came about in other orders."""
    # Trajectories are listed order by order: the first of each group takes the next one, the second the one after it.
    later_G = torch.arange(1, GROUP_SIZE + 1) * TOKENS**LENGTH
    moved_XG = (batch.index_XG + later_G) % mdp.rollout.num_rows
    found = [
        estimates(mdp, one, candidate, candidate.draw(mdp, scored_rollouts(mdp, one), stream(seed, "tried")))
        for one in (batch, dataclasses.replace(batch, index_XG=moved_XG))
    ]
    return _are_same(*found)


def _are_same(one: Tensor, other: Tensor) -> bool:
    """But for rounding, in float32 where a method computes in that."""
    return float((one - other).abs().max()) <= SAME * float(other.abs().max())


def draws_of_rows(draws: Any, rows: slice, total: int) -> Any:
    """The draws of some rows: of tensors with an entry per row these entries, of other things all."""
    if isinstance(draws, Tensor):
        return draws[rows] if draws.ndim and len(draws) == total else draws
    if isinstance(draws, tuple | list):
        return type(draws)(draws_of_rows(item, rows, total) for item in draws)
    if isinstance(draws, dict):
        return {name: draws_of_rows(item, rows, total) for name, item in draws.items()}
    if dataclasses.is_dataclass(draws) and not isinstance(draws, type):
        named = {item.name: getattr(draws, item.name) for item in dataclasses.fields(draws)}
        return dataclasses.replace(draws, **{name: draws_of_rows(item, rows, total) for name, item in named.items()})
    return draws
