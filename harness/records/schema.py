"""What is recorded: evaluations, traces, the status and the identity of a run. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.records.agreement import Agreement
from harness.records.jsonl import RecordError
from harness.records.values import is_count, is_number

SCHEMA_VERSION = 1
NO_METHOD = "none"
"""In the identity of a model that no run of ours trained."""
NO_LONGER_RECORDED = ("checkpoint_choice", "extra")
"""Fields of identities that earlier versions wrote, always with the same values."""
IDENTIFYING = (
    "checkpoint",
    "update",
    "weights",
    "dtype",
    "batch_size",
    "data",
    "split",
    "items_sha256",
    "prompts",
    "decoding",
)
"""Fields of an EvalRecord that tell one evaluation of a task from another."""
SERVED_BY = ("server", "endpoint", "model")
"""What tells completions of one server from those of another, under their names in EvalRecord.served."""


def check_schema(data: Mapping[str, Any], what: str) -> None:
    """Raises RecordError where `data`, which is called `what`, was written under another schema."""
    if data.get("schema") != SCHEMA_VERSION:
        raise RecordError(f"{what} has schema {data.get('schema')!r}, this version reads {SCHEMA_VERSION}")


@dataclass(frozen=True, kw_only=True)
class MetricTotals:
    """Sufficient statistics of one metric, sum(part) / sum(whole) over n items, enough for its interval.

    With every `whole` equal to 1 and every `part` 0 or 1 the metric is a proportion (`is_proportion`).
    """

    n: int
    part: float
    whole: float
    part_squared: float
    whole_squared: float
    part_times_whole: float
    is_proportion: bool

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> MetricTotals:
        """Sums up (part, whole) pairs, one per item."""
        items = list(pairs)
        return cls(
            n=len(items),
            part=sum(part for part, _ in items),
            whole=sum(whole for _, whole in items),
            part_squared=sum(part * part for part, _ in items),
            whole_squared=sum(whole * whole for _, whole in items),
            part_times_whole=sum(part * whole for part, whole in items),
            is_proportion=all(whole == 1 and part in (0, 1) for part, whole in items),
        )

    @property
    def value(self) -> float:
        """The metric, a fraction of 1; NaN without items."""
        return self.part / self.whole if self.whole else math.nan

    @property
    def standard_error(self) -> float:
        """Of the value over items like these: n/(n-1) * sum((part - value whole)^2) / sum(whole)^2 is its square
        (W. G. Cochran, Sampling Techniques, 1977, section 6); NaN below two items."""
        if self.n < 2 or not self.whole:
            return math.nan
        squares = self.part_squared - 2 * self.value * self.part_times_whole + self.value**2 * self.whole_squared
        return math.sqrt(max(0.0, squares) * self.n / (self.n - 1)) / self.whole


@dataclass(frozen=True, kw_only=True)
class EvalRecord:
    """One evaluation: a line of eval.jsonl, of a run or of `harness eval`.

    checkpoint: base (before training), step (during), last (after the final update); `given` for a model that a Python
    program handed over, `served` for one that a server runs, of whose training nothing is known.
    update, samples, flops_total, seconds: of training up to the checkpoint, evaluation excluded; 0 without a run.
    nfe: forward passes per completion in this evaluation; nfe, eval_flops and tokens_per_second are None where a server
    does not tell.

    The rest is empty in records that are older than it. flops_forward: the forward passes of flops_total alone, as some
    papers count; None where they were not counted apart. seed: of draws. batch_size: prompts per forward pass. weights:
    fingerprint of the files. commits: of what was fetched from the hub, by hub id. protocol: the paper's that was
    followed. origin: where the items came from. prompts: sha256 of the user's own, few_shot, train_data, and whether
    they are as published. packages: what model-written code could import beside the standard library, with versions.
    agreement: with exact decoding, of one with a cache, threshold, factor or entropy bound, where it was asked for.
    served: server, endpoint and model of completions that a server made, and the versions of what asked for them.
    """

    checkpoint: str
    update: int
    samples: int
    flops_total: float
    seconds: float
    data: str
    split: str
    items_sha256: str
    decoding: Mapping[str, Any]
    metrics: Mapping[str, MetricTotals]
    ceiling: Mapping[str, float]
    nfe: float | None
    tokens_per_second: float | None
    eval_seconds: float
    eval_flops: float | None
    samples_file: str | None
    flops_forward: float | None = None
    seed: int = 0
    batch_size: int = 0
    dtype: str = ""
    protocol: str = ""
    weights: str = ""
    commits: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None
    served: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    @property
    def identity(self) -> str:
        """Eight hex digits over what was evaluated and how: evaluations that share them repeat each other."""
        return identity_of(vars(self))

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary, one line of eval.jsonl."""
        unused = {name for name in ("agreement", "served") if not getattr(self, name)}
        return {name: value for name, value in asdict(self).items() if name not in unused}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvalRecord:
        """Reads a line of eval.jsonl. Raises RecordError where the schema is another or a field is missing."""
        check_schema(data, "evaluation record")
        try:
            metrics = {name: MetricTotals(**totals) for name, totals in data["metrics"].items()}
            told = data.get("agreement")
            agreement = None if told is None else Agreement.from_json(told)
            return cls(**{**data, "metrics": metrics, "agreement": agreement})
        except (TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"evaluation record is incomplete: {error}") from error


def identity_of(values: Mapping[str, Any]) -> str:
    """EvalRecord.identity, from the fields that are known before an evaluation."""
    identifying = [values[name] for name in IDENTIFYING]
    identifying += [values[name] for name in ("seed", "packages") if values[name]]
    if served := values.get("served"):
        identifying.append([served[name] for name in SERVED_BY])
    return hashlib.sha256(json.dumps(identifying, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class GreedyTrace:
    """The state before a step, filled in greedily, and what that completion earns. tokens: one text per position."""

    step: int
    tokens: tuple[str, ...]
    text: str
    reward: float


@dataclass(frozen=True, kw_only=True)
class TraceRecord:
    """How one completion came about, C tokens in T steps: a line of traces.jsonl.

    iteration: the rollout, from 1. update: updates made before it was sampled. example: the id of its problem.
    tokens: one text per position, empty for special tokens. unmask_step: the step that revealed the position, T where
    none did. entropy: nats, at that moment. chosen_steps: in the method's order; empty where it chooses none.
    greedy: by rising step, for methods that score greedy completions.
    """

    iteration: int
    update: int
    example: str
    prompt: str
    text: str
    reward: float
    num_steps: int
    tokens: tuple[str, ...]
    unmask_step: tuple[int, ...]
    entropy: tuple[float, ...]
    chosen_steps: tuple[int, ...]
    greedy: tuple[GreedyTrace, ...]
    schema: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary, one line of traces.jsonl."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TraceRecord:
        """Reads a line of traces.jsonl. Raises RecordError where its schema is another or its fields do not fit."""
        check_schema(data, "trace")
        try:
            lists = {name: tuple(data[name]) for name in ("tokens", "unmask_step", "entropy", "chosen_steps")}
            greedy = tuple(GreedyTrace(**{**item, "tokens": tuple(item["tokens"])}) for item in data["greedy"])
            trace = cls(**{**data, **lists, "greedy": greedy})
        except (TypeError, KeyError) as error:
            raise RecordError(f"trace is incomplete: {error}") from error
        if not trace._fits_together():
            raise RecordError(f"trace of iteration {trace.iteration!r} has values that do not fit together")
        return trace

    def _fits_together(self) -> bool:
        counts = (self.iteration, self.update, self.num_steps, *self.unmask_step)
        numbers = (*self.entropy, *(item.reward for item in self.greedy), self.reward)
        chosen = (*self.chosen_steps, *(item.step for item in self.greedy))
        texts = (*self.tokens, *(token for item in self.greedy for token in (item.text, *item.tokens)))
        lengths = {len(values) for values in (self.unmask_step, self.entropy, *(item.tokens for item in self.greedy))}
        return (
            self.num_steps != 0
            and lengths == {len(self.tokens)} != {0}
            and all(is_count(count) for count in counts)
            and all(is_count(step) and step < self.num_steps for step in chosen)
            and all(step <= self.num_steps for step in self.unmask_step)
            and all(is_number(value) or (isinstance(value, float) and math.isnan(value)) for value in numbers)
            and all(isinstance(text, str) for text in (self.example, self.prompt, self.text, *texts))
        )


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """status.json. state: running (also after a kill), interrupted by a signal, finished, failed.

    heartbeat: Unix time at which the run was last known to be alive; 0 in records that are older than it.
    """

    state: str
    updates: int
    samples: int
    reason: str = ""
    heartbeat: float = 0.0
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Which cell of the grid a run is; stands in config.yaml under `identity`."""

    task: str
    method: str
    model: str
    recipe: str
    reward: str
    seed: int
    train_data: str
    test_data: str
    config_hash: str

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> RunIdentity:
        """Reads an identity of any age. Raises TypeError where a field is missing or unknown."""
        return cls(**{name: value for name, value in data.items() if name not in NO_LONGER_RECORDED})

    @property
    def folder(self) -> Path:
        """The run's folder below the runs root."""
        model = self.model.replace("/", "--")
        return Path(self.task) / self.method / model / f"{self.config_hash}-seed{self.seed}"
