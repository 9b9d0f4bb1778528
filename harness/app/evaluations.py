"""The folder of a model's evaluations on a task, apart from any run.

<out>/<task>/<model>/
    evaluated.yaml              RunDescription: of the run that the model comes from, or what is known of the model
    eval.jsonl                  an EvalRecord per evaluation
    samples-<identity>.jsonl.gz one line per item
    .partial-<identity>/        completions of an evaluation that was cut off; it goes on from there
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.config.published.prompt_hashes import check_prompts
from harness.data.sources import sha256_of_text
from harness.records.description import EVALUATED_FILE, RunDescription, write_description
from harness.records.jsonl import read_lines, read_samples, to_line, write_atomic, write_samples
from harness.records.run_folder import EVAL_FILE
from harness.records.schema import EvalRecord, identity_of
from harness.task.base import Example, Score, Task

if TYPE_CHECKING:
    from harness.app.models import LoadedModel
    from harness.config.decoding import Decoding
    from harness.distributed.shard import Shard
    from harness.evaluation.beside import Scoring
    from harness.evaluation.completions import Completion
    from harness.evaluation.judge import Evaluation

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation. samples: one mapping per item. folder: where both were written, None where nothing was. known:
    whether it was there already."""

    task: str
    record: EvalRecord
    samples: Sequence[Mapping[str, Any]] = field(repr=False)
    folder: Path | None
    known: bool = False


@dataclass(frozen=True, kw_only=True)
class RecordFolder(ABC):
    """Where a model's evaluations on a task lie. folder: None where nothing is written. fresh: do again what is
    there."""

    folder: Path | None
    fresh: bool

    @abstractmethod
    def described(self, task: str, data: str) -> RunDescription:
        """What is known of the model."""

    def partial(self, identity: str) -> Path | None:
        """Where the completions of an evaluation are kept until it is recorded, None where nothing is written."""
        return None if self.folder is None else self.folder / f".partial-{identity}"

    def found(self, identity: str, task: Task) -> Evaluated | None:
        """What the folder holds of an evaluation, where that is its record and all its samples and is not to be done
        again."""
        if self.folder is None or self.fresh:
            return None
        samples = self.folder / _samples_file(identity)
        for line in read_lines(self.folder / EVAL_FILE):
            if line.get("samples_file") == samples.name and samples.is_file():
                record = EvalRecord.from_json(line)
                record = replace(record, metrics={name: record.metrics[name] for name in task.metrics})
                return Evaluated(
                    task=task.name, record=record, samples=list(read_samples(samples)), folder=self.folder, known=True
                )
        return None

    def written(self, done: Evaluated) -> Evaluated:
        """Writes the samples, then the record in the place of an earlier one of the same evaluation; nothing where
        there is no folder."""
        folder = self.folder
        if folder is None:
            return done
        record = replace(done.record, samples_file=_samples_file(done.record.identity))
        folder.mkdir(parents=True, exist_ok=True)
        write_samples(folder / str(record.samples_file), done.samples)
        with open(folder / ".lock", "w") as lock:  # evaluations that end at one time add a record each
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / EVALUATED_FILE).exists():
                write_description(folder, self.described(folder.parent.name, done.record.data), EVALUATED_FILE)
            lines = read_lines(folder / EVAL_FILE)
            others = [line for line in lines if line.get("samples_file") != record.samples_file]
            write_atomic(folder / EVAL_FILE, "".join(map(to_line, [*others, record.to_json()])))
        shutil.rmtree(folder / f".partial-{record.identity}", ignore_errors=True)
        return replace(done, record=record, folder=folder)


@dataclass(frozen=True, kw_only=True)
class EvaluationFolder(RecordFolder):
    """Where a loaded model's evaluations go."""

    loaded: LoadedModel
    shard: Shard

    @classmethod
    def of(cls, out: Path | None, task: str, loaded: LoadedModel, *, shard: Shard, fresh: bool) -> Self:
        """The folder below `out`; it is made when there is something to write."""
        folder = None if out is None else out / task / loaded.label
        return cls(folder=folder, loaded=loaded, shard=shard, fresh=fresh)

    def described(self, task: str, data: str) -> RunDescription:
        """Of the run that trained the model, or what is known of one that no run of ours trained."""
        return self.loaded.described(task, data)

    def evaluated(
        self,
        task: Task,
        examples: Sequence[Example],
        decoding: Decoding,
        *,
        seed: int,
        batch_size: int,
        about: Mapping[str, Any],
        needs_ids: bool = False,
        before: Callable[[str, Mapping[str, Any]], None],
        on_progress: Callable[[int, int, str], None],
    ) -> Evaluated:
        """The evaluation of the model under `decoding`: recorded earlier, or done now and recorded.

        about: what the record says of data, split, origin and prompts. needs_ids: whether one whose samples are older
        than their field `ids` is done again. before: as in `evaluate_all`.
        """
        from harness.evaluation.beside import Scoring
        from harness.evaluation.judge import judge

        loaded, model = self.loaded, self.loaded.model
        prompts = [model.prompt_text(task, example) for example in examples]
        values = {
            "checkpoint": loaded.checkpoint,
            **loaded.progress.spent_so_far,
            "items_sha256": sha256_of_text(prompts),
            "decoding": decoding.to_record(),
            "seed": seed,
            "batch_size": batch_size,
            "dtype": model.dtype_name,
            "weights": loaded.weights,
            "commits": model.commits,
            **about,
            "prompts": {**about["prompts"], **self._published(task, examples, str(about["protocol"]))},
        }
        with self.shard.together():
            before(task.name, values)
        told = ", ".join(f"{key}={value}" for key, value in values["decoding"].items())
        log.info(
            "%s: %s items of split %s from %s; %s", task.name, len(examples), about["split"], about["origin"], told
        )
        identity = identity_of(values)
        found = self.shard.decided(lambda: self.found(identity, task))
        if found is not None and not (needs_ids and any("ids" not in sample for sample in found.samples)):
            return found
        approximate = ", approximate" if decoding.is_approximate else ""
        note = f"{task.name}, {decoding.completion_length} tokens{approximate}"

        def on_done(done: int) -> None:
            on_progress(done, len(examples), note)

        with Scoring[int, Score](task, task.score) as scoring:
            completions = self._completed(examples, prompts, decoding, seed, batch_size, identity, scoring, on_done)
            scores = scoring.gathered(self.shard)
        result = judge(task, examples, prompts, completions, scores)
        ids = [list(completion.ids[: completion.tokens]) for completion in completions]
        return self.shard.decided(lambda: self._recorded(task, result, ids, values))

    def _published(self, task: Task, examples: Sequence[Example], protocol: str) -> dict[str, str]:
        """Whether the prompts are those of the protocol's paper, where one is followed."""
        if not protocol:
            return {}
        check = check_prompts(protocol, task, examples, self.loaded.model.prompt_text)
        return {"published": check.state, "because": check.reason}

    def _completed(
        self,
        examples: Sequence[Example],
        prompts: Sequence[str],
        decoding: Decoding,
        seed: int,
        batch_size: int,
        identity: str,
        scoring: Scoring[int, Score],
        on_done: Callable[[int], None],
    ) -> list[Completion]:
        """The completions of all processes in the order of the examples; those that an evaluation made before it was
        cut off are not made again. Each is added to the scoring of one process."""
        from harness.evaluation.completions import Completion, complete, gathered, to_score
        from harness.evaluation.store import AnswerStore

        partial = self.partial(identity)
        if partial and self.fresh and self.shard.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        self.shard.wait()
        with self.shard.together():
            store = AnswerStore(partial, process=self.shard.index)
        known = {index: Completion.from_json(store[str(index)]) for index in range(len(prompts)) if str(index) in store}
        self.shard.wait()  # no process adds to the store before all have read it
        scoring.add(to_score(examples, list(known.items())[self.shard.index :: self.shard.count]))
        mine = []
        for batch in complete(
            self.loaded.model,
            examples,
            prompts,
            decoding,
            batch_size=batch_size,
            shard=self.shard,
            seed=seed,
            known=known.keys(),
        ):
            for index, completion in batch:
                store.add(str(index), asdict(completion))
            mine += batch
            scoring.add(to_score(examples, batch))
            on_done(len(known) + len(mine) * self.shard.count)
        store.close()
        return gathered([*(known.items() if self.shard.is_main else ()), *mine], self.shard)

    def _recorded(
        self, task: Task, result: Evaluation, ids: Sequence[Sequence[int]], values: Mapping[str, Any]
    ) -> Evaluated:
        """ids: of each completion, up to its end."""
        record = EvalRecord(**{**values, **result.measured}, samples_file=None)
        samples = [{**sample, "ids": own} for sample, own in zip(result.samples, ids, strict=True)]
        return self.written(Evaluated(task=task.name, record=record, samples=samples, folder=None))


def _samples_file(identity: str) -> str:
    return f"samples-{identity}.jsonl.gz"
