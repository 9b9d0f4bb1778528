"""Groups: runs that differ in their seed alone, evaluated in one way. A row and a curve are each a group.

Two groups never share a line where their configuration, their items or their decoding differ.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from harness.config.embedded import EMBEDDED
from harness.config.published.prompt_hashes import STATES as PROMPT_STATES
from harness.config.published.prompt_hashes import UNVERIFIED
from harness.config.resolve import COMMAND_LINE, flatten
from harness.records.schema import NO_METHOD, EvalRecord
from harness.report.labels import DASH, data_name, method_name
from harness.report.read.runs import CHECKPOINTS, Run

HEAD = ("task", "method", "reward", "model", "recipe", "config_hash")
NOT_PROTOCOL = ("seed", "batch_size", "device", "hardware")
OUTSIDE_HASH = ("seed", "model.device")
DECODING, VALIDATION = "evaluation.decoding.", "validation"
NAMED_BY_FLAGS = ("method.name", "task", "seed", "reward", "model.name", "data.test", "data.train")

_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True, order=True)
class Protocol:
    """What a checkpoint was evaluated on and how. decoding: JSON of the options that decide the outcome."""

    data: str
    split: str
    items_sha256: str
    decoding: str

    @property
    def text(self) -> str:
        """For a reader: `builtin data, test split (items 1a2b3c4d), num_steps 8, temperature 0.0`."""
        options = [f"{name} {value}" for name, value in flatten(json.loads(self.decoding)).items()]
        return ", ".join([data_name(self.data), f"{self.split} split (items {self.items_sha256[:8]})", *options])


Conditions: TypeAlias = tuple[str, str, Protocol]
"""Task, model and protocol: what must be the same before two groups are compared."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run of a group and its evaluations under the group's protocol: rising update, last after step."""

    run: Run
    records: tuple[EvalRecord, ...]

    def at(self, checkpoint: str, metric: str = "") -> EvalRecord | None:
        """The latest evaluation at `checkpoint` (base or last); None where there is none or it lacks `metric`."""
        record = next((record for record in reversed(self.records) if record.checkpoint == checkpoint), None)
        return record if record is None or not metric or measures(record, metric) else None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in the seed alone, in the order of their seeds.

    variant: the settings in which it differs from groups of the same name; decoded: the options of its decoding in
    which it differs from other groups of the same runs; empty where there are none.
    """

    task: str
    method: str
    reward: str
    model: str
    recipe: str
    config_hash: str
    protocol: Protocol
    members: tuple[Member, ...]
    variant: str = ""
    decoded: str = ""

    @property
    def is_control(self) -> bool:
        """Trained on random rewards."""
        return self.reward == "random"

    @property
    def has_recipe_reward(self) -> bool:
        """Whether the reward was left to recipe and protocol."""
        return self.members[0].run.provenance.get("reward") != COMMAND_LINE

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, rising."""
        return tuple(member.run.identity.seed for member in self.members)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The configuration, dotted key to value, with the decoding of the group's own evaluations."""
        decoding = {f"{DECODING}{name}": value for name, value in json.loads(self.protocol.decoding).items()}
        return {**self.members[0].run.settings, **decoding}

    @property
    def is_decoded_as_configured(self) -> bool:
        """Whether the evaluations' decoding is the one that the run's configuration names first."""
        configured = self.members[0].run.settings
        return all(configured.get(key, value) == value for key, value in self.settings.items())

    @property
    def lasts(self) -> list[EvalRecord]:
        """The evaluations of the last checkpoints, in the order of the seeds."""
        return [record for member in self.members if (record := member.at("last")) is not None]

    @property
    def training_prompts(self) -> str:
        """`ours`, `unverified`: what the runs recorded; `-` for models that none of them trained."""
        states = sorted({member.run.training_prompts for member in self.members})
        return DASH if self.method == NO_METHOD else ", ".join(states)

    @property
    def evaluation_prompts(self) -> str:
        """`as published (d1)`: of the last checkpoints, against the protocol that they followed."""
        return ", ".join(sorted({_prompts_of(record) for record in self.lasts}))

    @property
    def label(self) -> str:
        """Method, control, variant and decoding: how the group is called in tables and figures."""
        return self.called(self.variant, self.decoded)

    def called(self, *differences: str) -> str:
        """Method, control, and in parentheses what else tells it from others."""
        control = ", random-reward control" if self.is_control else ""
        told = ", ".join(filter(None, differences))
        return f"{method_name(self.method)}{control}{f' ({told})' if told else ''}"

    @property
    def toy_reasons(self) -> list[str]:
        """`tiny model`, `builtin data`: what keeps the group from standing beside published numbers."""
        embedded = [f"{self.model} model"] if self.model in EMBEDDED else []
        return [*embedded, *(["builtin data"] if self.protocol.data == "builtin" else [])]

    @property
    def name(self) -> tuple[str, ...]:
        """What is the same in groups that only a variant can distinguish."""
        return tuple(getattr(self, name) for name in HEAD[:-1])

    @property
    def made_by(self) -> tuple[str, str]:
        """What tells it from groups of the same name: the configuration and the decoding."""
        return (self.config_hash, self.protocol.decoding)

    @property
    def key(self) -> tuple[object, ...]:
        """What tells the group from every other, whatever its variant is called."""
        return (*self.name, self.config_hash, self.protocol)

    @property
    def conditions(self) -> Conditions:
        """What must be the same before two groups are compared."""
        return (self.task, self.model, self.protocol)


def group_by(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    """The items that share a key; keys and items keep their order."""
    found: dict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return dict(found)


def measures(record: EvalRecord, metric: str) -> bool:
    """Whether `record` has items to take `metric` over."""
    return metric in record.metrics and bool(record.metrics[metric].whole)


def metrics_of(groups: Iterable[Group]) -> set[str]:
    """The metrics of all last checkpoints."""
    return {metric for group in groups for record in group.lasts for metric in record.metrics}


def _prompts_of(record: EvalRecord) -> str:
    """Evaluations that follow no paper's protocol were compared with none."""
    state = record.prompts.get("published")
    return f"{state} ({record.protocol})" if state in PROMPT_STATES else UNVERIFIED


def protocol_of(record: EvalRecord) -> Protocol:
    """The protocol of an evaluation."""
    decoding = {name: value for name, value in record.decoding.items() if name not in NOT_PROTOCOL}
    if record.seed:
        decoding["seed_of_draws"] = record.seed
    return Protocol(
        data=record.data,
        split=record.split,
        items_sha256=record.items_sha256,
        decoding=json.dumps(decoding, sort_keys=True, default=str),
    )


def evaluations(run: Run) -> list[EvalRecord]:
    """All of a run by rising update, `last` after `step`; one done again replaces the earlier one."""
    kept = {(*_what(record), record.batch_size, record.dtype): record for record in run.evals}
    return sorted(kept.values(), key=lambda record: (record.update, CHECKPOINTS.index(record.checkpoint)))


def latest(run: Run) -> list[EvalRecord]:
    """The `evaluations` that count: of those that differ in batch size or dtype alone, the one that was there first."""
    first: dict[tuple[object, ...], EvalRecord] = {}
    for record in evaluations(run):
        first.setdefault(_what(record), record)
    return list(first.values())


def _what(record: EvalRecord) -> tuple[object, ...]:
    return (record.checkpoint, record.update, protocol_of(record))


def overrides(run: Run) -> dict[str, Any]:
    """Dotted key to value of the settings given on the command line, save those with a flag of their own."""
    return {
        key: run.settings[key]
        for key, source in sorted(run.provenance.items())
        if source == COMMAND_LINE and key in run.settings and key not in NAMED_BY_FLAGS
    }


def make_groups(runs: Sequence[Run]) -> list[Group]:
    """The groups of `runs` under every protocol that occurs, controls after the others, in a fixed order.

    Evaluations on validation items choose checkpoints: where a run has others, those alone are results.
    """
    configurations = _configurations(runs)
    found: dict[tuple[tuple[str, ...], Protocol], list[Member]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.identity.seed):
        head = (*(getattr(run.identity, name) for name in HEAD[:-1]), configurations[run.folder])
        evaluated = group_by(latest(run), protocol_of)
        for protocol, records in evaluated.items():
            if protocol.split == VALIDATION and any(other.split != VALIDATION for other in evaluated):
                records = [record for record in records if record.checkpoint == "step"]
            found[head, protocol].append(Member(run=run, records=tuple(records)))
    groups = [
        Group(**dict(zip(HEAD, head, strict=True)), protocol=protocol, members=tuple(members))
        for (head, protocol), members in found.items()
    ]
    return sorted(_with_variants(groups), key=_order)


def _configurations(runs: Sequence[Run]) -> dict[Path, str]:
    """Per run folder the hash of its configuration, and its budget where runs of that hash were given several: a budget
    can be extended, and runs of different lengths are not seeds of one result."""
    budgets: dict[Path, str] = {}
    of_hash: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        limits = {key: value for key, value in run.settings.items() if key.startswith("budget.") and value}
        budgets[run.folder] = ", ".join(f"{key}={value}" for key, value in sorted(limits.items()))
        of_hash[run.identity.config_hash].add(budgets[run.folder])
    names = {run.folder: run.identity.config_hash for run in runs}
    return {
        folder: name if len(of_hash[name]) == 1 else f"{name} with {budgets[folder]}" for folder, name in names.items()
    }


def _order(group: Group) -> tuple[Any, ...]:
    head = (group.task, group.model, group.protocol, group.is_control)
    changes = len(overrides(group.members[0].run))
    return (*head, group.method, group.reward, group.recipe, changes, group.variant, group.config_hash)


def _with_variants(groups: Sequence[Group]) -> list[Group]:
    """Groups of one name are told apart by the settings of their runs, those of the same runs by their decoding."""
    named = group_by(groups, lambda group: group.name)
    configured = {
        name: {group.config_hash: group.members[0].run.settings for group in own} for name, own in named.items()
    }
    decoded = {
        made: [json.loads(group.protocol.decoding) for group in own]
        for made, own in group_by(groups, lambda group: (*group.name, group.config_hash)).items()
    }
    return [
        replace(
            group,
            variant=differences(configured[group.name][group.config_hash], configured[group.name].values())
            or (f"configuration {group.config_hash}" if len(configured[group.name]) > 1 else ""),
            decoded=differences(json.loads(group.protocol.decoding), decoded[*group.name, group.config_hash]),
        )
        for group in groups
    ]


def differences(own: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    """`key=value, key=value` for the settings that are not the same in all of `others`."""
    every = list(others)
    keys = sorted({key for settings in every for key in settings} - set(OUTSIDE_HASH))
    differing = (key for key in keys if len({json.dumps(one.get(key), default=str) for one in every}) > 1)
    return ", ".join(f"{key.removeprefix('method.')}={own.get(key)}" for key in differing)
