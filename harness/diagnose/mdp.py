"""A denoising task that can be enumerated: its objective, and the gradient of it, are sums over all trajectories.

Three tokens and a mask, three positions, one token per step, positions revealed in random order. The policy is a table
of logits behind the interface of every other model, so the methods' own code runs on it unchanged. All in float64.

Axes: N trajectories, R copies of the table, B rows, P prompt (one token, which nothing depends on), C completion,
L = P + C, T = C steps, V vocabulary with the mask, W = V - 1 tokens, S = V ** (C - 1) contexts of a position.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.tiny import CharacterTokenizer, tiny_config
from harness.randomness import stream
from harness.rollout import Prompts, Rewards, Rollout

TOKENS = 3
LENGTH = 3
MASK_ID = TOKENS
VOCABULARY = TOKENS + 1
CONTEXTS = VOCABULARY ** (LENGTH - 1)
ORDERS = math.factorial(LENGTH)
"""Of revealing the positions, all equally likely."""
NO_TOKEN = -1


class TokenTable(nn.Module):
    """Logits of every position, looked up by the tokens at the other positions; the mask token has none (-inf).

    table_RCSW holds R copies: row b of a batch of B uses copy b * R // B.
    """

    def __init__(self, table_CSW: Tensor) -> None:
        super().__init__()
        self.table_RCSW = nn.Parameter(table_CSW[None])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> SimpleNamespace:
        """Logits (B, L, V) in the place of hidden states; zeros at the prompt."""
        rows, length = input_ids.shape
        copies = self.table_RCSW.shape[0]
        copy_B1 = (torch.arange(rows) * copies // rows)[:, None]
        context_BC = contexts(input_ids[:, -LENGTH:])
        logits_BCW = self.table_RCSW[copy_B1, torch.arange(LENGTH), context_BC]
        logits_BCV = nn.functional.pad(logits_BCW, (0, 1), value=-torch.inf)
        return SimpleNamespace(last_hidden_state=nn.functional.pad(logits_BCV, (0, 0, length - LENGTH, 0)))


class TableNetwork(nn.Module):
    """The table with the parts that a transformers model has: a trunk, a head (the identity) and a configuration."""

    def __init__(self, table_CSW: Tensor) -> None:
        super().__init__()
        self.model = TokenTable(table_CSW)
        self.lm_head = nn.Identity()
        self.config = tiny_config()


@dataclass(frozen=True, kw_only=True)
class Mdp:
    """A policy, a reward per completion, and all trajectories of the policy with their probabilities.

    reward_X: by completion, read as a number in base 3. probability_N: sums to 1.
    """

    policy: DiffusionLM
    table: TokenTable
    reward_X: Tensor
    rollout: Rollout
    probability_N: Tensor

    def rewards_of(self, completion_ids_NC: Tensor) -> Rewards:
        """Rewards (N,) of completions."""
        base_C = TOKENS ** torch.arange(LENGTH)
        reward_N = self.reward_X[(completion_ids_NC * base_C).sum(1)]
        return Rewards(total_B=reward_N, parts={"correctness": reward_N})

    def score(self, row_N: Tensor, completion_ids_NC: Tensor) -> Rewards:
        """The score function of methods; there is one prompt."""
        return self.rewards_of(completion_ids_NC)

    @contextlib.contextmanager
    def copies(self, count: int) -> Iterator[nn.Parameter]:
        """Inside, the table is `count` copies of itself, so that its gradient tells groups of rows apart."""
        original = self.table.table_RCSW
        try:
            self.table.table_RCSW = nn.Parameter(original.detach().expand(count, -1, -1, -1).clone())
            yield self.table.table_RCSW
        finally:
            self.table.table_RCSW = original

    def exact_gradient(self) -> Tensor:
        """The gradient of the expected reward (C, S, W), by enumeration and autograd."""
        probability_N = log_probability(self.policy, self.rollout).exp() / ORDERS
        objective = (probability_N * self.rewards_of(self.rollout.completion_ids_BC).total_B).sum()
        (gradient_RCSW,) = torch.autograd.grad(objective, [self.table.table_RCSW])
        return gradient_RCSW[0]


def make_mdp(seed: int, *, scale: float, end_token: int = NO_TOKEN) -> Mdp:
    """A random task: normal logits of standard deviation `scale`, uniform rewards. end_token: one of the tokens may end
    the completion."""
    generator = stream(seed, "enumerable task")
    table_CSW = scale * torch.randn(LENGTH, CONTEXTS, TOKENS, generator=generator, dtype=torch.float64)
    network = TableNetwork(table_CSW)
    special = SpecialTokens(mask_id=MASK_ID, pad_id=0, end_ids=() if end_token == NO_TOKEN else (end_token,))
    policy = DiffusionLM(network, CharacterTokenizer(), special, name="table")
    rollout = recorded(policy, all_trajectories())
    return Mdp(
        policy=policy,
        table=network.model,
        reward_X=torch.rand(TOKENS**LENGTH, generator=generator, dtype=torch.float64),
        rollout=rollout,
        probability_N=rollout.logprob_BC.sum(1).exp() / ORDERS,
    )


def contexts(completion_BC: Tensor) -> Tensor:
    """The tokens at the other positions as a number in base V (B, C)."""
    weight_CC = torch.zeros(LENGTH, LENGTH, dtype=torch.long)
    for position in range(LENGTH):
        others = [other for other in range(LENGTH) if other != position]
        weight_CC[position, others] = VOCABULARY ** torch.arange(LENGTH - 1)
    return (completion_BC[:, None] * weight_CC).sum(2)


def all_trajectories() -> Rollout:
    """Every completion in every order, without a record of probabilities."""
    pairs = itertools.product(itertools.permutations(range(LENGTH)), itertools.product(range(TOKENS), repeat=LENGTH))
    steps, completions = zip(*pairs, strict=True)
    completion_NC = torch.tensor(completions)
    blank_NC = torch.zeros(completion_NC.shape, dtype=torch.float64)
    return Rollout(
        prompts=Prompts(ids_BP=torch.zeros(len(completion_NC), 1, dtype=torch.long), mask_BP=None),
        completion_ids_BC=completion_NC,
        unmask_step_BC=torch.tensor(steps, dtype=torch.int16),
        logprob_BC=blank_NC,
        entropy_BC=blank_NC,
        num_steps_B=torch.full((len(completion_NC),), LENGTH, dtype=torch.int16),
        num_steps=LENGTH,
        mask_id=MASK_ID,
    )


@torch.no_grad()
def recorded(policy: DiffusionLM, rollout: Rollout) -> Rollout:
    """The trajectories with what sampling records: log-probabilities, entropies, most probable tokens."""
    logits_NTCV = torch.stack([_logits(policy, rollout, step) for step in range(LENGTH)], 1)
    logprob_NTCV = logits_NTCV.log_softmax(-1)
    entropy_NTC = torch.special.entr(logprob_NTCV.exp()).sum(-1)
    target_NTC = rollout.completion_ids_BC[:, None].expand_as(entropy_NTC)
    chosen_NTC = logprob_NTCV.gather(-1, target_NTC[..., None])[..., 0]
    step_N1C = rollout.unmask_step_BC.long()[:, None]
    return dataclasses.replace(
        rollout,
        logprob_BC=chosen_NTC.gather(1, step_N1C)[:, 0],
        entropy_BC=entropy_NTC.gather(1, step_N1C)[:, 0],
        argmax_BTC=logits_NTCV.argmax(-1).to(torch.int32),
    )


def log_probability(policy: DiffusionLM, rollout: Rollout) -> Tensor:
    """Log-probability (N,) of the tokens of each trajectory, given its order; with gradient."""
    total_N = torch.zeros(rollout.num_rows, dtype=torch.float64)
    for step in range(LENGTH):
        logprob_NCV = _logits(policy, rollout, step).log_softmax(-1)
        chosen_NC = logprob_NCV.gather(-1, rollout.completion_ids_BC[..., None])[..., 0]
        revealed_NC = rollout.unmask_step_BC == step
        total_N = total_N + torch.where(revealed_NC, chosen_NC, 0.0).sum(1)
    return total_N


def _logits(policy: DiffusionLM, rollout: Rollout, step: int) -> Tensor:
    """Logits (N, C, V) of the states before `step`."""
    tokens_NL, mask_NL = rollout.state_at(torch.full((rollout.num_rows,), step))
    return policy.completion_logits(tokens_NL, mask_NL, LENGTH)


def take(rollout: Rollout, index_B: Tensor) -> Rollout:
    """Those recorded trajectories, in that order."""
    taken: dict[str, Any] = {name: value[index_B] for name, value in vars(rollout).items() if isinstance(value, Tensor)}
    return dataclasses.replace(rollout, prompts=rollout.prompts.rows(index_B), **taken)
