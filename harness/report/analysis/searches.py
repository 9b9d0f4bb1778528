"""Searches: runs that differ in one setting, from whose values one is chosen on the validation items alone.

A run counts with its last checkpoint. Values are compared over the seeds that all of them have; of equal ones the
smaller is chosen. The test items have no part in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.report.analysis.groups import (
    HEAD,
    OUTSIDE_HASH,
    VALIDATION,
    Group,
    Member,
    Protocol,
    differences,
    group_by,
    latest,
    overrides,
    protocol_of,
)
from harness.report.analysis.rows import Row, make_row
from harness.report.analysis.sweeps import Sweep, SweepLine, SweepPoint
from harness.report.labels import ablation_keys
from harness.report.read.runs import Collection, Run

MEASURING = ("evaluation.", "budget.", "data.")
"""Settings that decide how long and on what a run is measured, and are no matter of choice."""
VALIDATION_ITEMS = "evaluation.validation_items"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A run, finished or not. reason: why it has no result; empty for one that has."""

    run: Run
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Try:
    """One value of the key. row: its score on the validation items over the seeds that are compared, None without one.

    uncounted: a sentence for each of its runs that does not count. folders: of all its runs.
    """

    setting: Any
    row: Row | None
    uncounted: tuple[str, ...]
    folders: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Search:
    """What was tried for one method and task, by rising value. label: method and what tells it from other searches.

    chosen: the value with the highest score; None below two scores, and where no seed is common to all.
    """

    task: str
    method: str
    model: str
    recipe: str
    label: str
    key: str
    tries: tuple[Try, ...]
    chosen: Try | None

    @property
    def scored(self) -> list[Try]:
        """Those that count, by rising value."""
        return [one for one in self.tries if one.row is not None]

    @property
    def rows(self) -> list[Row]:
        """The scores, by rising value."""
        return [one.row for one in self.tries if one.row is not None]

    @property
    def equals(self) -> list[Try]:
        """The values above the chosen one that have the same score."""
        if self.chosen is None or self.chosen.row is None:
            return []
        best = self.chosen.row.value
        return [one for one in self.tries if one is not self.chosen and one.row is not None and one.row.value == best]

    @property
    def is_at_an_end(self) -> bool:
        """Whether the chosen value is the lowest or the highest of those that count, which are numbers."""
        ends = (self.scored[0], self.scored[-1]) if self.scored else ()
        return any(self.chosen is end for end in ends) and all(is_numeric(one.setting) for one in self.tries)


def is_numeric(setting: Any) -> bool:
    """Whether a setting has a place on an axis."""
    return isinstance(setting, int | float) and not isinstance(setting, bool)


def tried(collection: Collection, methods: Sequence[str] = ()) -> list[Tried]:
    """All runs that were read, finished or not, of `methods`, of all where none is named.

    An unfinished copy of a finished run is none of them.
    """
    finished = {run.identity.folder for run in collection.runs}
    others = [
        Tried(run=skipped.run, reason=skipped.reason)
        for skipped in collection.skipped
        if skipped.run is not None and skipped.run.identity.folder not in finished
    ]
    every = [*(Tried(run=run) for run in collection.runs), *others]
    return [one for one in every if not methods or one.run.identity.method in methods]


def find_searches(runs: Sequence[Tried], metrics: Mapping[str, str]) -> list[Search]:
    """Every search over a key that the command line set: at least two values, and validation items in one run of it.

    metrics: headline metric by task.
    """
    known = [one for one in runs if one.run.identity.task in metrics]
    keys = sorted({key for one in known for key in overrides(one.run) if not key.startswith(MEASURING)})
    found = []
    for key in keys:
        for same in group_by(_alike(known, key), lambda own: _head(own[0].run)).values():
            others = [_rest(own[0].run, key) for own in same]
            found += [
                _search(own, key, metrics, where=differences(rest, others))
                for own, rest in zip(same, others, strict=True)
            ]
    return sorted(found, key=lambda search: (search.task, search.model, search.key, search.method, search.label))


def _alike(runs: Sequence[Tried], key: str) -> list[list[Tried]]:
    """Runs that differ in `key` and the seed alone, where it has several values and one of them validates."""
    having = [one for one in runs if key in one.run.settings]
    return [
        own
        for own in group_by(having, lambda one: (*_head(one.run), _text(_rest(one.run, key)))).values()
        if len({_text(one.run.settings[key]) for one in own}) > 1 and any(_validates(one.run) for one in own)
    ]


def _head(run: Run) -> tuple[str, ...]:
    return tuple(getattr(run.identity, name) for name in HEAD[:-1])


def _rest(run: Run, key: str) -> dict[str, Any]:
    return {name: value for name, value in run.settings.items() if name not in (key, *OUTSIDE_HASH)}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _validates(run: Run) -> bool:
    return bool(run.settings.get(VALIDATION_ITEMS)) or any(record.split == VALIDATION for record in run.evals)


def _search(runs: Sequence[Tried], key: str, metrics: Mapping[str, str], *, where: str) -> Search:
    """runs: alike but for the key and the seed."""
    metric = metrics[runs[0].run.identity.task]
    by_value = list(group_by(runs, lambda one: _text(one.run.settings[key])).values())
    by_value.sort(key=lambda own: _place(own[0].run.settings[key]))
    members = [_members(own, metric) for own in by_value]
    protocols = [_protocol(member) for own, _ in members for member in own]
    protocol = max(protocols, key=protocols.count, default=None)
    apart = [_on(protocol, own, reasons) for own, reasons in members]
    seeds = [{member.run.identity.seed for member in own} for own, _ in apart if own]
    shared = set.intersection(*seeds) if seeds else set()
    tries = tuple(
        _try(own, key, metric, measured, reasons, shared)
        for own, (measured, reasons) in zip(by_value, apart, strict=True)
    )
    scored = [(one.row.value, one) for one in tries if one.row is not None]
    best = max((value for value, _ in scored), default=0.0)
    chosen = next(one for value, one in scored if value == best) if len(scored) > 1 and shared else None
    first = runs[0].run
    nowhere = Protocol(data="", split="", items_sha256="", decoding="{}")
    return Search(
        task=first.identity.task,
        method=first.identity.method,
        model=first.identity.model,
        recipe=first.identity.recipe,
        label=_group(first, nowhere, ()).called(where),
        key=key,
        tries=tries,
        chosen=chosen,
    )


def _place(setting: Any) -> tuple[bool, float, str]:
    """Numbers by size, then everything else by its text."""
    return (not is_numeric(setting), float(setting) if is_numeric(setting) else 0.0, _text(setting))


def _members(runs: Sequence[Tried], metric: str) -> tuple[list[Member], list[str]]:
    """The runs with a score, by seed, each with its evaluations on the validation items; sentences about the others."""
    members, reasons = [], []
    for one in sorted(runs, key=lambda one: one.run.identity.seed):
        records = [record for record in latest(one.run) if record.split == VALIDATION]
        # The run itself chooses what to keep by the items and the decoding that come first.
        own = next(iter(group_by(records, protocol_of).values()), [])
        member = Member(run=one.run, records=tuple(own))
        if one.reason:
            reasons.append(f"{one.run.name}: {one.reason}")
        elif member.at("last", metric) is None:
            reasons.append(f"{one.run.name}: no validation score")
        else:
            members.append(member)
    return members, reasons


def _protocol(member: Member) -> Protocol:
    return protocol_of(member.records[0])


def _on(
    protocol: Protocol | None, members: Sequence[Member], reasons: Sequence[str]
) -> tuple[list[Member], tuple[str, ...]]:
    """Those evaluated under `protocol`, which most have; sentences about the others too."""
    others = [
        f"{member.run.name}: evaluated on other validation items or otherwise"
        for member in members
        if _protocol(member) != protocol
    ]
    return [member for member in members if _protocol(member) == protocol], (*reasons, *others)


def _try(
    runs: Sequence[Tried],
    key: str,
    metric: str,
    members: Sequence[Member],
    reasons: Sequence[str],
    shared: set[int],
) -> Try:
    """shared: the seeds that every value with a score has; without any, a value shows those of its own."""
    counted = [member for member in members if not shared or member.run.identity.seed in shared]
    others = [f"{member.run.name}: not every value has this seed" for member in members if member not in counted]
    setting = runs[0].run.settings[key]
    named = f"{key.rpartition('.')[2]}={setting}"
    group = replace(_group(counted[0].run, _protocol(counted[0]), counted), variant=named) if counted else None
    return Try(
        setting=setting,
        row=make_row(group, metric) if group else None,
        uncounted=(*reasons, *others),
        folders=tuple(one.run.folder for one in runs),
    )


def _group(run: Run, protocol: Protocol, members: Sequence[Member]) -> Group:
    head = {name: getattr(run.identity, name) for name in HEAD}
    return Group(**head, protocol=protocol, members=tuple(members))


def passed_over(searches: Sequence[Search]) -> frozenset[Path]:
    """The folders of the runs of values that were not chosen, of keys that their method does not name as ablations."""
    return frozenset(
        folder
        for search in searches
        if search.chosen is not None and search.key not in ablation_keys(search.method)
        for one in search.tries
        if one is not search.chosen
        for folder in one.folders
    )


def search_sweeps(searches: Sequence[Search]) -> list[Sweep]:
    """The scores of values that are numbers, the searches over one key on the same items in one figure.

    Values are set side by side: learning rates lie decades apart.
    """
    drawn = [
        search for search in searches if len(search.rows) > 1 and all(is_numeric(one.setting) for one in search.tries)
    ]
    alike = group_by(drawn, lambda search: (search.task, search.model, search.key, search.rows[0].group.protocol))
    return [
        Sweep(
            key=key,
            task=task,
            model=model,
            metric=own[0].rows[0].metric,
            lines=tuple(_line(search, sorted({one.setting for each in own for one in each.scored})) for search in own),
            on="validation items",
        )
        for (task, model, key, _), own in alike.items()
    ]


def _line(search: Search, places: Sequence[float]) -> SweepLine:
    points = tuple(
        SweepPoint(group=one.row.group, setting=one.setting, x=float(places.index(one.setting)), row=one.row)
        for one in search.scored
        if one.row is not None
    )
    chosen = next((point.group for point in points if search.chosen and point.row is search.chosen.row), None)
    return SweepLine(points=points, reference=chosen or points[0].group)
