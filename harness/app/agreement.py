"""An approximate decoding beside exact decoding of the same items: what a cache, or a rule as a threshold,
changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.records.agreement import Agreement
from harness.report.analysis.paired import Gap, Outcomes

if TYPE_CHECKING:
    from harness.app.evaluations import Evaluated, EvaluationFolder
    from harness.config.decoding import Decoding
    from harness.evaluation.agreement import LogprobGap
    from harness.task.base import Example, Task

SAMPLE = 32
"""Items whose log-probabilities are computed exactly."""


def with_agreement(
    folder: EvaluationFolder,
    task: Task,
    examples: Sequence[Example],
    decoding: Decoding,
    done: Evaluated,
    exact: Evaluated,
    on_progress: Callable[[int, int, str], None],
) -> Evaluated:
    """The evaluation `done`, made with the approximate `decoding`, with its agreement with the exact one, recorded.
    on_progress: as in `evaluate_all`."""
    gap = None
    if decoding.cache != "none":
        on_progress(0, len(examples[:SAMPLE]), f"{task.name}, exact log-probabilities")
        gap = _logprob_gap(folder, task, examples[:SAMPLE], decoding, done)
    record = replace(done.record, agreement=_agreement(done, exact, gap))
    return folder.shard.decided(lambda: folder.written(replace(done, record=record)))


def _logprob_gap(
    folder: EvaluationFolder, task: Task, examples: Sequence[Example], decoding: Decoding, done: Evaluated
) -> LogprobGap:
    from harness.evaluation.agreement import logprob_gap

    model = folder.loaded.model
    prompts = [model.prompt_text(task, example) for example in examples]
    options = {"batch_size": done.record.batch_size, "seed": done.record.seed}
    return logprob_gap(model, examples, prompts, decoding, **options, shard=folder.shard)


def _agreement(done: Evaluated, exact: Evaluated, gap: LogprobGap | None) -> Agreement:
    from harness.evaluation.agreement import token_agreement

    ours, theirs = (Outcomes.of(one.record, one.samples) for one in (done, exact))
    difference = Gap.between(ours, theirs)
    tokens = token_agreement(*([sample["ids"] for sample in one.samples] for one in (done, exact)))
    cost, exact_cost = done.record.eval_flops, exact.record.eval_flops
    assert cost is not None
    assert exact_cost is not None
    return Agreement(
        exact=exact.record.identity,
        tokens=tokens.tokens,
        completions=tokens.completions,
        metric=ours.metric,
        exact_value=theirs.value,
        difference=difference.difference,
        low=difference.interval.low if difference.interval else None,
        high=difference.interval.high if difference.interval else None,
        p=difference.p,
        cost=cost / exact_cost,
        gap_mean=gap.mean if gap else None,
        gap_largest=gap.largest if gap else None,
        gap_tokens=gap.tokens if gap else 0,
    )
