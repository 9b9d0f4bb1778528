"""Evaluating a model that a server runs: its completions come from there, and everything else is as for a model here.

What the server does not tell is not recorded: no forward passes, FLOPs, steps or token ids.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness import __version__
from harness.app.evaluations import Evaluated, RecordFolder
from harness.config.embedded import EMBEDDED
from harness.config.served import CHAT, Sampling, Server
from harness.data.sources import sha256_of_text
from harness.distributed.processes import is_one_of_several
from harness.errors import UserError
from harness.records.description import RunDescription
from harness.records.schema import NO_METHOD, EvalRecord, RunIdentity, identity_of
from harness.records.values import is_name
from harness.task.base import Example, Score, Task
from harness.task.messages import plain_text, split_prefill

if TYPE_CHECKING:
    from harness.evaluation.beside import Scoring
    from harness.evaluation.served import ServedCompletion
    from harness.lmeval.served import Asking

SERVED = "served"
"""The checkpoint of an EvalRecord."""
LOCAL = {
    "protocol": "",
    "checkpoint": "",
    "checkpoints": "last",
    "adapter": "",
    "adapter_subfolder": "",
    "dtype": "",
    "device": "auto",
    "batch_size": 64,
    "cuda_graphs": False,
    "compile": False,
    "pack_weights": False,
}
"""Options of an evaluation that say how a model is run here, with the value of one that was not given."""
INSTEAD = {"batch_size": ", and set --concurrency for requests at once", "protocol": ", and set --length and --items"}
ENDS_OPEN = (
    "The prompt of '{}' ends in the beginning of an answer, which a server's chat endpoint may take for a whole one; "
    "leave the assistant's last message out of --prompts, or ask for plain text with --endpoint completions."
)


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model by the name under which a server has it."""

    server: Server
    name: str

    @classmethod
    def asked(cls, server: Server, options: Mapping[str, Any]) -> Self:
        """The model of an EvaluationRequest with these fields. Raises UserError for options that go with a model here,
        for a name that is missing, and for several processes."""
        for option, usual in LOCAL.items():
            if options[option] != usual:
                value = "" if isinstance(options[option], bool) else f" {options[option]}"
                raise UserError(
                    f"--{option.replace('_', '-')}{value} says how a model is run here, and --server runs its own; "
                    f"leave it out{INSTEAD.get(option, '')}."
                )
        server.check()
        name = options["model"]
        if not isinstance(name, str) or name in ("", *EMBEDDED):
            raise UserError("--server needs --model NAME, the name under which it serves the model.")
        if is_one_of_several():
            raise UserError(
                "One process asks a server, with --concurrency requests at once; start it without launcher."
            )
        model = cls(server=server, name=name)
        if not is_name(model.label):
            raise UserError(f"--model '{name[:60]}' is no name that a folder could have; serve it under another.")
        return model

    @property
    def is_tiny(self) -> bool:
        """Whether it is the tiny model: no server's is."""
        return False

    @property
    def embedded(self) -> str:
        """No server has an embedded model."""
        return ""

    @property
    def label(self) -> str:
        """Its name for a folder of results: `Qwen--Qwen2.5-7B-Instruct@localhost-8000`."""
        return f"{self.name.replace('/', '--')}@{self.server.place}"

    @property
    def record(self) -> dict[str, Any]:
        """What an EvalRecord says about the server and about what asks it; never a key."""
        client = {"harness": __version__, "lm_eval": version("lm_eval"), "aiohttp": version("aiohttp")}
        return {
            "server": self.server.address,
            "endpoint": self.server.endpoint,
            "model": self.name,
            "client": client,
        }

    def prompt_text(self, task: Task, example: Example) -> str:
        """What the server is sent: the task's chat messages as JSON, or as text without a template. Raises UserError
        where messages end in the beginning of an answer."""
        asked, prefill = split_prefill(task.messages(example))
        if self.server.endpoint != CHAT:
            return plain_text(asked) + prefill
        if prefill:
            raise UserError(ENDS_OPEN.format(task.name))
        return json.dumps([dict(one) for one in asked], ensure_ascii=False)

    def described(self, task: str, data: str) -> RunDescription:
        """What is known of it."""
        where = f"{self.server.address} {self.name}"
        identity = RunIdentity(
            task=task,
            method=NO_METHOD,
            model=self.label,
            recipe=NO_METHOD,
            reward="task",
            seed=0,
            train_data=NO_METHOD,
            test_data=data,
            config_hash=hashlib.sha256(where.encode()).hexdigest()[:8],
        )
        model = {"name": self.name, "server": self.server.address}
        return RunDescription(identity=identity, config={"model": model}, execution={}, provenance={})


@dataclass(frozen=True, kw_only=True)
class ServedFolder(RecordFolder):
    """Where a served model's evaluations on a task go."""

    model: ServedModel

    @classmethod
    def of(cls, out: Path | None, task: str, model: ServedModel, *, fresh: bool) -> Self:
        """The folder below `out`; it is made when there is something to write."""
        return cls(folder=None if out is None else out / task / model.label, model=model, fresh=fresh)

    def described(self, task: str, data: str) -> RunDescription:
        """What is known of the model."""
        return self.model.described(task, data)

    def evaluated(
        self,
        task: Task,
        examples: Sequence[Example],
        sampling: Sampling,
        *,
        seed: int,
        about: Mapping[str, Any],
        before: Callable[[str, Mapping[str, Any]], None],
        on_progress: Callable[[int, int, str], None],
        on_warning: Callable[[str], None],
    ) -> Evaluated:
        """The evaluation of the model: recorded earlier, or done now and recorded. The arguments are those of
        EvaluationFolder.evaluated; on_warning is told of requests that have failed and are made again.

        Raises UserError where the server fails for good; what has been completed by then is kept.
        """
        from harness.evaluation.beside import Scoring
        from harness.evaluation.judge import judge
        from harness.lmeval.served import Asking

        prompts = [self.model.prompt_text(task, example) for example in examples]
        values = {
            "checkpoint": SERVED,
            "update": 0,
            "samples": 0,
            "flops_total": 0.0,
            "seconds": 0.0,
            "items_sha256": sha256_of_text(prompts),
            "decoding": sampling.to_record(),
            "seed": seed,
            "batch_size": 0,
            "dtype": "",
            "weights": "",
            "served": self.model.record,
            **about,
        }
        before(task.name, values)
        identity = identity_of(values)
        if found := self.found(identity, task):
            return found
        note = f"{task.name}, {sampling.completion_length} tokens"

        def on_done(done: int) -> None:
            on_progress(done, len(examples), note)

        with Scoring[int, Score](task, task.score) as scoring:
            asking = Asking(server=self.model.server, model=self.model.name, sampling=sampling, seed=seed)
            completions = self._completed(asking, examples, prompts, identity, scoring, on_done, on_warning)
            scores = [score for _, score in sorted(scoring.results().items())]
        result = judge(task, examples, prompts, completions, scores)
        record = EvalRecord(**{**values, **result.measured}, samples_file=None)
        return self.written(Evaluated(task=task.name, record=record, samples=result.samples, folder=None))

    def _completed(
        self,
        asking: Asking,
        examples: Sequence[Example],
        prompts: Sequence[str],
        identity: str,
        scoring: Scoring[int, Score],
        on_done: Callable[[int], None],
        on_warning: Callable[[str], None],
    ) -> list[ServedCompletion]:
        """The completions in the order of the examples, each kept and scored as it comes; those that an evaluation got
        before it was cut off are not asked for again."""
        from harness.evaluation.served import ServedCompletion
        from harness.evaluation.store import AnswerStore

        partial = self.partial(identity)
        if partial and self.fresh:
            shutil.rmtree(partial, ignore_errors=True)
        store = AnswerStore(partial)
        numbers = range(len(prompts))
        known = {index: ServedCompletion.from_json(store[str(index)]) for index in numbers if str(index) in store}
        scoring.add((index, examples[index], one.text) for index, one in known.items())
        last = time.monotonic()

        def keep(index: int, completion: ServedCompletion) -> None:
            nonlocal last
            now = time.monotonic()
            known[index] = replace(completion, seconds=now - last)
            last = now
            store.add(str(index), asdict(known[index]))
            scoring.add([(index, examples[index], completion.text)])
            on_done(len(known))

        try:
            asking.completions({index: prompts[index] for index in numbers if index not in known}, keep, on_warning)
        except UserError as error:
            kept = f" {len(known)} of {len(prompts)} completions are kept; the same command goes on from there."
            raise UserError(f"{error}{kept if partial and known else ''}") from error
        finally:
            store.close()
        return [known[index] for index in numbers]
