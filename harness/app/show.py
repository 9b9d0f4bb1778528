"""One run, recipe, method or key as plain values: what it is, with every value's source and meaning."""

from __future__ import annotations

import inspect
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness import registry
from harness.app import catalogue, documents
from harness.config.keys import EXECUTION, METHOD, Key, common_sections, find_keys, method_section
from harness.config.library import sections_of, statements, tasks_with_protocol
from harness.config.meanings import first_sentence
from harness.config.recipe_files import named_in
from harness.config.recipes import load_recipe
from harness.config.resolve import resolve
from harness.config.sources import sources
from harness.errors import UserError
from harness.records.description import EVALUATED_FILE, RunDescription
from harness.records.run_folder import CHECKPOINT_FOLDER, CHECKPOINT_STATE, CONFIG_FILE, METRICS_FILE
from harness.report.labels import one_line

if TYPE_CHECKING:
    from harness.records.schema import EvalRecord
    from harness.report.read.runs import Run

Record = dict[str, Any]

DEFAULT = "default"


def key(name: str) -> Record:
    """The keys that `name` stands for, each with those recipes and protocols that set it; none where nothing is called
    so."""
    return {"shown": "keys", "keys": [{**one.to_record(), "set_by": _set_by(one)} for one in find_keys(name)]}


def _set_by(one: Key) -> list[Record]:
    return [asdict(found) for found in statements(one.name, one.method)]


def recipe(name: str, *, method: str = "", task: str = "") -> Record:
    """A recipe resolved: all values with source and meaning, each with the tasks that it holds for.

    name: `egspo-sa:paper`, `egspo-sa/sudoku:paper`, the section alone where `method` names the method, or a YAML file.
    task: one of those that the recipe is for, all by default. Raises UserError where the recipe is wrong.
    """
    asked = named_in(name)
    method = registry.canonical_name("method", method or asked.method or _lacking(name, "method"))
    chosen = task or asked.task
    tasks = [registry.canonical_name("task", chosen)] if chosen else _tasks_of(name, method, asked.section)
    cls = registry.get_method(method).Config
    known = {one.name: one for section in (*common_sections(), method_section(method)) for one in section.keys}
    found: dict[str, dict[str, Record]] = {}
    for each in tasks:
        layers = load_recipe(name, method=method, task=each)
        resolved = resolve(method=method, method_config=cls, task=each, recipe=name, layers=layers, overrides={})
        for dotted, value in sources(resolved).items():
            whole = {"key": dotted, "value": value.value, "from": resolved.provenance[dotted], "source": value.source}
            same = found.setdefault(dotted, {}).setdefault(json.dumps(whole, default=str), {**whole, "tasks": []})
            same["tasks"].append(each)
    values = [
        {**one, "meaning": known[dotted].meaning if dotted in known else ""}
        for dotted, alike in found.items()
        for one in alike.values()
    ]
    return {"shown": "recipe", "recipe": name, "method": method, "tasks": tasks, "values": values}


def _lacking(name: str, what: str) -> NoReturn:
    raise UserError(f"Recipe '{name}' does not say which {what} it is for; name it with --{what}.")


def _tasks_of(name: str, method: str, section: str) -> list[str]:
    """The tasks that a recipe of the library is for, or the one that a file extends."""
    known = sections_of(method)
    return list(known.get(section, tasks_with_protocol())) if section else _lacking(name, "task")


def method(name: str) -> Record:
    """A method: what its file says, its options with their meanings, its recipes, what it takes."""
    entry = registry.entry("method", registry.canonical_name("method", name))
    assert entry is not None
    cls = registry.get_method(entry.names[0])
    return {
        "shown": "method",
        "method": entry.names[0],
        "title": entry.title,
        "aliases": list(entry.names[1:]),
        "about": first_sentence(_first_paragraph(inspect.getmodule(cls)) or _first_paragraph(cls)),
        "file": str(entry.path),
        "options": [one.to_record() for one in method_section(entry.names[0]).keys],
        "recipes": {section: list(tasks) for section, tasks in sections_of(entry.names[0]).items()},
        "ablations": [f"{METHOD}.{option}" for option in entry.ablations],
        **{flag: bool(getattr(cls, flag, False)) for flag in ("takes_cached", "takes_adaptive", "takes_blocks")},
    }


def _first_paragraph(documented: object) -> str:
    return " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, or evaluations of `harness eval`."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, EVALUATED_FILE))


def run(folder: Path) -> Record:
    """A run: what it is, the settings that differ from the defaults, its progress, the scores of its base and of its
    last checkpoint, and the command that makes it again. Raises RecordError where its records are damaged."""
    from harness.records.description import read_tree
    from harness.report.read.runs import load_run

    found = load_run(folder, str(folder))
    tree = read_tree(folder, EVALUATED_FILE if found.evaluated_only else CONFIG_FILE)
    assert tree is not None, "load_run has read it"
    described = RunDescription.from_record(tree)
    execution = {
        one_line(f"{EXECUTION}.{name}"): one_line(value) if isinstance(value, str) else value
        for name, value in described.execution.items()
    }
    limits = {key.removeprefix("budget."): value for key, value in found.settings.items() if key.startswith("budget.")}
    kept = folder.glob(f"{CHECKPOINT_FOLDER}/*/{CHECKPOINT_STATE}")
    return {
        "shown": "run",
        "folder": str(folder),
        "identity": asdict(found.identity),
        "evaluated_only": found.evaluated_only,
        "state": catalogue.state(found.status),
        "reason": found.status.reason,
        "progress": _progress(found),
        "budget": {name: limit for name, limit in limits.items() if limit},
        "checkpoints": sorted(one_line(place.parent.name) for place in kept),
        "settings": list(_differing({**found.settings, **execution}, found.provenance)),
        "scores": [_score(record) for record in _first_and_last(found)],
        "command": "" if found.evaluated_only else _again(found),
    }


def _again(run: Run) -> str:
    """The command, with the whole name of the model, of which the identity has the last part."""
    from harness.report.chapters.settings import run_command

    identity = replace(run.identity, model=str(run.settings.get("model.name") or run.identity.model))
    return run_command(replace(run, identity=identity), [identity.seed])


def _progress(run: Run) -> Record:
    """Of training so far: what the last line of metrics.jsonl counts."""
    from harness.records.jsonl import read_lines
    from harness.records.values import is_number

    last: Mapping[str, Any] = next(iter(deque(read_lines(run.folder / METRICS_FILE), maxlen=1)), {})
    seconds = last.get("seconds")
    counts = {"flops": last.get("flops_total"), "seconds": seconds.get("total") if isinstance(seconds, dict) else None}
    known = {name: value if is_number(value) else None for name, value in counts.items()}
    return {"updates": run.status.updates, "samples": run.status.samples, **known}


def _differing(settings: Mapping[str, Any], provenance: Mapping[str, str]) -> Iterator[Record]:
    """The settings that are not today's defaults; options of methods, whose files are not run, go by where they came
    from."""
    known = {one.name: one for section in common_sections() for one in section.keys}
    for name, value in sorted(settings.items()):
        origin = provenance.get(name, "")
        is_filled = origin == DEFAULT and (name not in known or name.startswith("data."))
        if is_filled or name in ("task", "method.name"):
            continue
        if name not in known:
            yield {"key": name, "value": value, "from": origin, "meaning": ""}
        elif json.dumps(value, default=str) != json.dumps(known[name].default, default=str):
            yield {"key": name, "value": value, "from": origin, "meaning": known[name].meaning}


def _first_and_last(run: Run) -> list[EvalRecord]:
    """Per protocol the evaluations of the base and of the newest checkpoint."""
    from harness.report.analysis.groups import group_by, latest, protocol_of

    each = group_by(latest(run), protocol_of).values()
    return [record for same in each for record in ([same[0], same[-1]] if len(same) > 1 else same)]


def _score(record: EvalRecord) -> Record:
    return {
        "checkpoint": record.checkpoint,
        "update": record.update,
        "data": record.data,
        "split": record.split,
        "decoding": dict(record.decoding),
        "metrics": {name: documents.measured(totals) for name, totals in record.metrics.items()},
    }
