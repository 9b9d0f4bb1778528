"""From token ids to answers: what the store does not hold is computed, batch by batch, and stored at once.

The answers' costs are noted as they are given, on the first process for all.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from tqdm import tqdm

from harness.config.decoding import Decoding
from harness.distributed.shard import Shard
from harness.errors import UserError
from harness.evaluation.batches import BatchSize
from harness.evaluation.likelihood import LikelihoodOptions, Question, log_likelihoods
from harness.evaluation.store import Answer, AnswerStore, answer_key
from harness.lmeval.completions import Order, complete
from harness.lmeval.costs import Answered, merged, summary
from harness.lmeval.models import LoadedModel, Models
from harness.randomness import stream_seed

Kind = TypeVar("Kind", Order, Question)
Asked = tuple[LoadedModel, Kind]
"""What is asked of a model."""

COSTS = ("tokens", "forwards", "seconds", "flops", "standard_error")

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Answering:
    """Computes or looks up answers of all kinds. max_length: tokens of prompt and completion. seed: of all draws."""

    models: Models
    store: AnswerStore
    shard: Shard
    batch_size: BatchSize
    likelihood: LikelihoodOptions
    max_length: int
    seed: int
    _answered: dict[str, Answered] = field(default_factory=dict)

    def completions(self, orders: Sequence[Asked[Order]], kind: str, *, quiet: bool) -> list[Answer]:
        """The fields of a Completion for each order."""
        return self._answers(kind, orders, functools.partial(complete, batch_size=self.batch_size), quiet=quiet)

    def likelihoods(self, questions: Sequence[Asked[Question]], *, quiet: bool) -> list[Answer]:
        """The fields of a Likelihood for each question."""
        compute = functools.partial(log_likelihoods, options=self.likelihood)
        return self._answers("loglikelihood", questions, compute, quiet=quiet)

    def are_greedy(self, questions: Sequence[Asked[Question]], *, quiet: bool) -> list[bool]:
        """Whether decoding one token per step, the surest first, gives each question's answer."""
        orders = [self._greedy(loaded, question) for loaded, question in questions]
        decoded = self.completions(orders, "greedy", quiet=quiet)
        return [
            tuple(answer["ids"]) == question.answer_ids
            for (_, question), answer in zip(questions, decoded, strict=True)
        ]

    def cost(self) -> dict[str, dict[str, Any]]:
        """What all answers given so far cost, by kind."""
        return summary(self._answered.values())

    def order(
        self,
        loaded: LoadedModel,
        prompt_ids: Sequence[int],
        decoding: Decoding,
        *,
        max_tokens: int,
        draws: Mapping[str, int],
    ) -> Asked[Order]:
        """A prompt to complete; one that is too long keeps its last tokens.

        draws: what tells samples of one prompt apart, empty where nothing is sampled. Raises UserError where the
        completion leaves no room for the prompt.
        """
        length = decoding.completion_length
        room = self.max_length - length
        if room < 0:
            raise UserError(
                f"A completion of {length} tokens is longer than the model's {self.max_length} positions; lower "
                "max_gen_toks, or give max_length= in model_args."
            )
        if len(prompt_ids) > room:
            log.warning("A prompt of %d tokens is cut to its last %d.", len(prompt_ids), room)
        ids = tuple(prompt_ids)[max(0, len(prompt_ids) - room) :]
        content = {
            "kind": "completion",
            "prompt": ids,
            "decoding": decoding.to_record(),
            "max_tokens": max_tokens,
            **draws,
        }
        return loaded, Order(
            key=answer_key(loaded.identity, content),
            prompt_ids=ids,
            decoding=decoding,
            seed=stream_seed(self.seed, "completion", draws.get("repeat", 0), repr(ids)),
            max_tokens=max_tokens,
        )

    def question(self, loaded: LoadedModel, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Asked[Question]:
        """How probable is the answer, of at least one token, after the context? One that is too long loses its first
        tokens. Raises UserError for an answer longer than the model."""
        room = self.max_length - len(answer_ids)
        if room < 0:
            raise UserError(
                f"A continuation of {len(answer_ids)} tokens is longer than the model's {self.max_length} positions; "
                "give max_length= in model_args."
            )
        context, answer = tuple(context_ids)[max(0, len(context_ids) - room) :], tuple(answer_ids)
        content = {
            "kind": "likelihood",
            "context": context,
            "answer": answer,
            "draws": self.likelihood.draws,
            "guidance_scale": self.likelihood.guidance_scale,
            "seed": self.seed,
        }
        return loaded, Question(
            key=answer_key(loaded.identity, content),
            context_ids=context,
            answer_ids=answer,
            seed=stream_seed(self.seed, "likelihood", repr(context)),
        )

    def _greedy(self, loaded: LoadedModel, question: Question) -> Asked[Order]:
        length = len(question.answer_ids)
        one_per_step = Decoding(completion_length=length, block_length=length, num_steps=length, eos_policy="run")
        return self.order(loaded, question.context_ids, one_per_step, max_tokens=length, draws={})

    def _answers(
        self,
        kind: str,
        asked: Sequence[Asked[Kind]],
        compute: Callable[..., Any],
        *,
        quiet: bool,
    ) -> list[Answer]:
        """The stored answers, after computing those that were missing and noting what each cost; called by all
        processes together. compute: pairs of what was asked and its answer, of a model and all that is asked of it."""
        missing = {one.key: (loaded, one) for loaded, one in asked if one.key not in self.store}
        hidden = quiet or not self.shard.is_main or not missing
        with tqdm(total=len(missing), desc=f"{kind} requests", disable=hidden) as bar:
            for loaded in self.models.loaded.values():
                mine = [one for its_model, one in missing.values() if its_model is loaded]
                for one, answer in compute(loaded.model, mine):
                    self.store.add(one.key, asdict(answer))
                    bar.update()
        answers = {one.key: self.store[one.key] for _, one in asked}
        for key, answer in answers.items():
            costs = {name: answer[name] for name in COSTS if name in answer}
            self._answered[f"{kind} {key}"] = Answered(kind=kind, computed=key in missing, **costs)
        for one in self.shard.gather_items([self._answered]):
            self._answered = merged(self._answered, one)
        return [answers[one.key] for _, one in asked]
