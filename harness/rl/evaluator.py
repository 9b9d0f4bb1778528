"""Evaluation while training: every setting of the configuration at each checkpoint, one record each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.decoding import Decoding
from harness.config.tree import VALIDATION, EvaluationConfig, Execution
from harness.distributed.shard import Shard
from harness.evaluation.beside import Scoring
from harness.evaluation.completions import complete, gathered
from harness.evaluation.judge import Evaluation, judge
from harness.models.diffusion_lm import DiffusionLM
from harness.records.jsonl import append_line, read_lines, write_samples
from harness.records.run_folder import EVAL_FILE, samples_name
from harness.records.schema import EvalRecord
from harness.rl.ledger import Progress
from harness.task.base import Example, Score, Task


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training examples, evaluation and validation items, with the source of these two."""

    train: Sequence[Example]
    evaluation: Sequence[Example]
    evaluation_label: str
    validation: Sequence[Example] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """Items done of an evaluation that is going on."""

    checkpoint: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation is finished and recorded."""

    record: EvalRecord


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to evaluate a checkpoint: on which items, and how they are decoded."""

    split: str
    items: Sequence[Example]
    decoding: Decoding


class Evaluator:
    """Evaluates the present weights of `model` and records the results in `folder`. settings: in the order of their
    records."""

    def __init__(
        self,
        config: EvaluationConfig,
        execution: Execution,
        *,
        task: Task,
        model: DiffusionLM,
        data: Data,
        shard: Shard,
        folder: Path,
    ) -> None:
        self._batch_size, self._task, self._model = execution.evaluation_batch_size, task, model
        self._label, self._shard, self._folder = data.evaluation_label, shard, folder
        decodings = config.all_decodings
        self.settings = [Setting(split=config.split, items=data.evaluation, decoding=one) for one in decodings]
        if data.validation:
            self.settings.append(Setting(split=VALIDATION, items=data.validation, decoding=decodings[0]))

    @property
    def best(self) -> int | None:
        """The update of the checkpoint with the highest value of the task's first metric on the validation items, the
        earliest of several; None before there is one after an update."""
        records = [EvalRecord.from_json(line) for line in read_lines(self._folder / EVAL_FILE)]
        tried = [one for one in records if one.split == VALIDATION and one.update]
        metric = next(iter(self._task.metrics))
        return max(tried, key=lambda one: one.metrics[metric].value).update if tried else None

    def run(self, name: str, progress: Progress) -> Iterator[Evaluating | Evaluated]:
        """Every setting for checkpoint `name`; then counts the evaluations in `progress`."""
        for number, setting in enumerate(self.settings):
            yield from self._one(name, number, setting, progress)
        progress.evaluations += len(self.settings)

    def _one(self, name: str, number: int, setting: Setting, progress: Progress) -> Iterator[Evaluating | Evaluated]:
        prompts = [self._model.prompt_text(self._task, example) for example in setting.items]
        done = []
        with Scoring[int, Score](self._task, self._task.score) as scoring:
            for batch in complete(
                self._model, setting.items, prompts, setting.decoding, batch_size=self._batch_size, shard=self._shard
            ):
                scoring.add((index, setting.items[index], completion.text) for index, completion in batch)
                done += batch
                yield Evaluating(checkpoint=name, done=len(done) * self._shard.count, total=len(setting.items))
            completions, scores = gathered(done, self._shard), scoring.gathered(self._shard)
        result = judge(self._task, setting.items, prompts, completions, scores)
        yield Evaluated(record=self._shard.decided(lambda: self._record(name, number, setting, result, progress)))

    def _record(self, name: str, number: int, setting: Setting, result: Evaluation, progress: Progress) -> EvalRecord:
        """Writes what came of an evaluation."""
        samples_file = samples_name(name, progress.update, number)
        write_samples(self._folder / samples_file, result.samples)
        record = EvalRecord(
            checkpoint=name,
            **progress.spent_so_far,
            **result.measured,
            data=self._label,
            split=setting.split,
            decoding=setting.decoding.to_record(),
            samples_file=samples_file,
            batch_size=self._batch_size,
            dtype=self._model.dtype_name,
            packages=self._task.importable(),
        )
        append_line(self._folder / EVAL_FILE, record.to_json())
        return record
