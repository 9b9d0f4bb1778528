"""A denoising task that can be enumerated: its objective, and the gradient of it, are sums over all trajectories.

Three tokens and a mask, three positions, one token per step, positions revealed in random order, from left to right, or
the surest first. The policy is a table of logits behind the interface of every other model, so the methods' own code
runs on it unchanged. All in float64.

Axes: N trajectories, R copies of the table, B rows, P prompt (padding and one token, on which no logits depend), C
completion, L = P + C, T = C steps, V vocabulary with the mask, W = V - 1 tokens, S = V ** (C - 1) contexts of a
position.
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
RANDOM, LEFT_TO_RIGHT, CONFIDENCE = ORDERS = ("random", "left-to-right", "confidence")
"""Of revealing the positions. random: all orders equally likely. confidence: the masked position first whose most
probable token has the highest probability, the leftmost of several; the token there is drawn as everywhere."""
NO_TOKEN = -1
FIRST_COPY_ID = VOCABULARY
"""Padding that stands for the first copy of the table; no token has this id."""


class TokenTable(nn.Module):
    """Logits of every position, looked up by the tokens at the other positions; the mask token has none (-inf).

    table_RCSW holds R copies. Which of them a row uses stands in the padding of its prompt, which no method changes, so
    that rows may be left out, repeated and reordered.
    """

    def __init__(self, table_CSW: Tensor) -> None:
        super().__init__()
        self.table_RCSW = nn.Parameter(table_CSW[None])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> SimpleNamespace:
        """Logits (B, L, V) in the place of hidden states; zeros at the prompt."""
        copy_B1 = input_ids[:, :1] - FIRST_COPY_ID
        if copy_B1.numel() and int(copy_B1.min()) < 0:
            raise ValueError("padding is overwritten, and with it the mark of whose row this is")
        entry_BC = (copy_B1 * LENGTH + torch.arange(LENGTH)) * CONTEXTS + contexts(input_ids[:, -LENGTH:])
        logits_BCW = nn.functional.embedding(entry_BC, self.table_RCSW.view(-1, TOKENS))
        prompt_length = input_ids.shape[1] - LENGTH
        return SimpleNamespace(
            last_hidden_state=torch.cat(
                [
                    logits_BCW.new_zeros(len(input_ids), prompt_length, VOCABULARY),
                    nn.functional.pad(logits_BCW, (0, 1), value=-torch.inf),
                ],
                1,
            )
        )


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

    order: one of ORDERS. reward_X: by completion, read as a number in base 3. probability_N: sums to 1.
    """

    order: str
    policy: DiffusionLM
    table: TokenTable
    reward_X: Tensor
    rollout: Rollout
    probability_N: Tensor

    @property
    def text_N(self) -> Tensor:
        """The completion of each trajectory, as a number in base 3."""
        return as_number(self.rollout.completion_ids_BC)

    def rewards_of(self, completion_ids_NC: Tensor) -> Rewards:
        """Rewards (N,) of completions."""
        reward_N = self.reward_X[as_number(completion_ids_NC)]
        return Rewards(total_B=reward_N, parts={"correctness": reward_N})

    def score(self, row_N: Tensor, completion_ids_NC: Tensor) -> Rewards:
        """The score function of methods; there is one prompt."""
        return self.rewards_of(completion_ids_NC)

    @contextlib.contextmanager
    def copies(self, count: int) -> Iterator[nn.Parameter]:
        """Inside, the table is `count` copies of itself, so that its gradient tells the rows that use them apart."""
        original = self.table.table_RCSW
        try:
            self.table.table_RCSW = nn.Parameter(original.detach().expand(count, -1, -1, -1).clone())
            yield self.table.table_RCSW
        finally:
            self.table.table_RCSW = original

    def exact_gradient(self) -> Tensor:
        """The gradient of the expected reward (C, S, W), by enumeration and autograd.

        The order of the surest first is a function of the logits, which jumps where two positions are equally sure;
        everywhere else it is constant, so that the gradient holds it fixed, as the score function of the tokens does.
        """
        probability_N = log_probability(self.policy, self.rollout).exp() * order_probability(self.order)
        objective = (probability_N * self.rewards_of(self.rollout.completion_ids_BC).total_B).sum()
        (gradient_RCSW,) = torch.autograd.grad(objective, [self.table.table_RCSW])
        return gradient_RCSW[0]


def make_mdp(seed: int, *, scale: float, end_token: int = NO_TOKEN, order: str = RANDOM) -> Mdp:
    """A random task: normal logits of standard deviation `scale`, uniform rewards. end_token: one of the tokens may end
    the completion. One seed has the same table and rewards in every order."""
    generator = stream(seed, "enumerable task")
    table_CSW = scale * torch.randn(LENGTH, CONTEXTS, TOKENS, generator=generator, dtype=torch.float64)
    network = TableNetwork(table_CSW)
    special = SpecialTokens(mask_id=MASK_ID, pad_id=0, end_ids=() if end_token == NO_TOKEN else (end_token,))
    policy = DiffusionLM(network, CharacterTokenizer(), special, name="table")
    policy.reference = policy.predictor  # as at the first update of a run
    rollout = recorded(policy, all_trajectories(policy, order))
    return Mdp(
        order=order,
        policy=policy,
        table=network.model,
        reward_X=torch.rand(TOKENS**LENGTH, generator=generator, dtype=torch.float64),
        rollout=rollout,
        probability_N=rollout.logprob_BC.sum(1).exp() * order_probability(order),
    )


def order_probability(order: str) -> float:
    """Of each order in which a completion's positions may be revealed, given its tokens' own probabilities."""
    return 1 / math.factorial(LENGTH) if order == RANDOM else 1.0


def prompts_of(copy_B: Tensor) -> Prompts:
    """Prompts whose rows use these copies of the table."""
    ids_BP = torch.stack([FIRST_COPY_ID + copy_B, torch.zeros_like(copy_B)], 1)
    return Prompts(ids_BP=ids_BP, mask_BP=torch.tensor([False, True]).expand_as(ids_BP))


def as_number(completion_NC: Tensor) -> Tensor:
    """Completions as numbers in base 3 (N,)."""
    return completion_NC @ TOKENS ** torch.arange(LENGTH)


def contexts(completion_BC: Tensor) -> Tensor:
    """The tokens at the other positions as a number in base V (B, C)."""
    weight_CC = torch.zeros(LENGTH, LENGTH, dtype=torch.long)
    for position in range(LENGTH):
        others = [other for other in range(LENGTH) if other != position]
        weight_CC[position, others] = VOCABULARY ** torch.arange(LENGTH - 1)
    return (completion_BC[:, None] * weight_CC).sum(2)


def all_trajectories(policy: DiffusionLM, order: str) -> Rollout:
    """Every completion in every order that it may have, without a record of probabilities."""
    completions = list(itertools.product(range(TOKENS), repeat=LENGTH))
    steps = list(itertools.permutations(range(LENGTH))) if order == RANDOM else [tuple(range(LENGTH))]
    step_ND, completion_ND = zip(*itertools.product(steps, completions), strict=True)
    completion_NC = torch.tensor(completion_ND)
    blank_NC = torch.zeros(completion_NC.shape, dtype=torch.float64)
    rollout = Rollout(
        prompts=prompts_of(torch.zeros(len(completion_NC), dtype=torch.long)),
        completion_ids_BC=completion_NC,
        unmask_step_BC=torch.tensor(step_ND, dtype=torch.int16),
        logprob_BC=blank_NC,
        entropy_BC=blank_NC,
        num_steps_B=torch.full((len(completion_NC),), LENGTH, dtype=torch.int16),
        num_steps=LENGTH,
        mask_id=MASK_ID,
    )
    return surest_first(policy, rollout) if order == CONFIDENCE else rollout


@torch.no_grad()
def surest_first(policy: DiffusionLM, rollout: Rollout) -> Rollout:
    """The same completions, their positions revealed in the order of CONFIDENCE."""
    step_NC = torch.full_like(rollout.unmask_step_BC, LENGTH)
    for step in range(LENGTH):
        # Every position without a step yet is still masked in the state before this one.
        rollout = dataclasses.replace(rollout, unmask_step_BC=step_NC)
        sureness_NC = _logits(policy, rollout, step).softmax(-1).amax(-1)
        surest_N1 = sureness_NC.masked_fill(step_NC < LENGTH, -1.0).argmax(1, keepdim=True)
        step_NC = step_NC.scatter(1, surest_N1, step)
    return dataclasses.replace(rollout, unmask_step_BC=step_NC)


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


def take(rollout: Rollout, index_B: Tensor, copy_B: Tensor | None = None) -> Rollout:
    """Those recorded trajectories, in that order. copy_B: the copy of the table that each uses, else all the first."""
    taken: dict[str, Any] = {name: value[index_B] for name, value in vars(rollout).items() if isinstance(value, Tensor)}
    prompts = prompts_of(torch.zeros_like(index_B) if copy_B is None else copy_B)
    return dataclasses.replace(rollout, prompts=prompts, **taken)
