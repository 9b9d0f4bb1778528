"""The model card of an export, its README.md: YAML for the Hugging Face hub, then what is recorded of the weights.

Nothing in it is guessed: what no record says is left out or called unknown, and the licence is left to whoever exports.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness import __version__, registry
from harness.config.resolve import flatten
from harness.records.run_folder import ENVIRONMENT_FILE
from harness.records.schema import EvalRecord
from harness.records.small import read_record
from harness.report.analysis.groups import latest, protocol_of
from harness.report.analysis.statistics import items_interval
from harness.report.chapters.settings import run_command
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.formats.markdown import escape_markdown, table_markdown
from harness.report.labels import (
    DASH,
    capitalized,
    data_name,
    digits,
    flop_unit,
    headline_metric,
    method_name,
    metric_name,
    percent,
    task_name,
)
from harness.report.read.runs import Run

HARNESS = "diffusion-rl-harness"
TAGS = (HARNESS, "diffusion-language-model")
ADAPTER, MERGED, ALL = "the adapter alone", "all weights, adapter merged", "all weights"
RELATIONS = {ADAPTER: "adapter", MERGED: "merge", ALL: "finetune"}
"""What the hub calls an export of each form."""
ARXIV = re.compile(r"arXiv\s(\d{4}\.\d{5})")
NO_LICENCE = "# No license is stated: the base model's applies to what is made from it. Add `license: ...` here.\n"
TINY = (
    "The base is the tiny model of the harness, a toy for demonstrations and tests: it knows one kind of built-in "
    "problem, and nothing here can be compared with published numbers."
)
BUILTIN = "Built-in problems are a toy setting: nothing here can be compared with published numbers."
ONE_SEED = (
    "The interval is over items. This is one seed: another one of the same method may differ by more than the interval."
)
UNKNOWN = "No run of the harness comes with these weights: how they were trained and what they score is unknown here."


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What is exported. base: the model as it was named. adapter: what was put on it, empty for none. hub_base: the
    base's hub id, empty for a folder. form: ADAPTER, MERGED or ALL. task: of the tiny model's weights. update: of the
    run's checkpoint."""

    base: str
    hub_base: str
    adapter: str
    form: str
    task: str
    is_tiny: bool
    update: int = 0


def model_card(weights: Weights, run: Run | None) -> str:
    """The whole file. run: that trained the weights, None for a model itself."""
    environment = _environment(run) if run else {}
    records = [one for one in latest(run) if one.update == weights.update] if run else []
    front = yaml.safe_dump(_front(weights, run, environment, records), sort_keys=False, allow_unicode=True)
    parts = _parts_of_run(weights, run, environment, records) if run else _parts_of_model(weights)
    return f"---\n{NO_LICENCE}{front}---\n\n" + "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def paper_of(method: str) -> str:
    """The arXiv number in the docstring of the method's file; empty where it names none or is not installed."""
    entry = registry.entry("method", method)
    docstring = ast.get_docstring(ast.parse(entry.path.read_bytes())) if entry else None
    found = ARXIV.search(docstring or "")
    return found[1] if found else ""


def _environment(run: Run) -> Mapping[str, Any]:
    found = json.loads(read_record(run.folder / ENVIRONMENT_FILE) or b"{}")
    return found if isinstance(found, dict) else {}


def _at(tree: Any, *keys: str) -> Any:
    """What stands in a record under nested keys; None where there is nothing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _front(
    weights: Weights, run: Run | None, environment: Mapping[str, Any], records: Sequence[EvalRecord]
) -> dict[str, Any]:
    """The fields that the hub reads; those without a value are left out."""
    base = {"base_model": weights.hub_base, "base_model_relation": RELATIONS[weights.form]} if weights.hub_base else {}
    origins = [_at(environment, "data", part, "origin", "dataset") for part in ("train", "test")]
    trained = ["reinforcement-learning", run.identity.method, run.identity.task] if run else []
    fields = {
        **base,
        "library_name": "peft" if weights.form == ADAPTER else "",
        "tags": [*TAGS, *trained],
        "datasets": sorted({origin for origin in origins if isinstance(origin, str)}),
        "metrics": sorted({headline_metric(record.metrics) for record in records if record.metrics}),
    }
    return {name: value for name, value in fields.items() if value}


def _parts_of_model(weights: Weights) -> Iterator[str]:
    put_on = f" with the adapter {_code(weights.adapter)}" if weights.adapter else ""
    yield f"# {escape_markdown(weights.base)}"
    yield f"{_code(weights.base)}{put_on}, {weights.form}, written by {HARNESS} {__version__}."
    if weights.is_tiny:
        yield TINY
    yield UNKNOWN
    yield from _use(weights, weights.task)


def _parts_of_run(
    weights: Weights, run: Run, environment: Mapping[str, Any], records: Sequence[EvalRecord]
) -> Iterator[str]:
    identity, is_control = run.identity, run.identity.reward == "random"
    name = f"{method_name(identity.method)} on {task_name(identity.task)}"
    yield f"# {escape_markdown(name)}, seed {identity.seed}{', random-reward control' if is_control else ''}"
    yield (
        f"{_code(weights.base)} after {weights.update:,} updates of {escape_markdown(name)}, "
        f"{weights.form}, written by {HARNESS} {__version__}."
    )
    if is_control:
        yield "**This is a control**: its rewards were random numbers, so that what it gained is not owed to the task."
    if weights.is_tiny:
        yield TINY
    elif any(record.data == "builtin" for record in records):
        yield BUILTIN
    yield table_markdown(_about(weights, run, environment))
    yield "## Score"
    yield from _scores(run, records)
    yield "## How to make it again"
    yield f"```sh\n{run_command(run, [identity.seed])}\n```"
    yield from _made_with(run, environment)
    yield from _use(weights, identity.task)
    yield "## Citation"
    yield _citation(run, weights)


def _about(weights: Weights, run: Run, environment: Mapping[str, Any]) -> Table:
    identity, settings = run.identity, run.settings
    budget = [f"{key.removeprefix('budget.')} {value:,}" for key, value in _numbers(settings, "budget.") if value]
    state = "" if run.status.state == "finished" else f" of a run that is {run.status.state}"
    rows = {
        "Method": f"{method_name(identity.method)} ({identity.method})",
        "Task": f"{task_name(identity.task)} ({identity.task}), reward: {identity.reward}",
        "Base model": f"{weights.base}{_fingerprint(environment)}",
        "Adapter before training": weights.adapter,
        "Trained": f"adapters of rank {settings['model.lora.rank']}" if settings.get("model.lora.rank") else ALL,
        "Seed": str(identity.seed),
        "Recipe": identity.recipe,
        "Training": f"update {weights.update:,}{_cost(run, weights)}{state}",
        "Budget": ", ".join(budget),
        "Training data": f"{data_name(identity.train_data)}{_items(environment, 'train')}",
        "Training prompts": run.training_prompts,
        "Run": run.name,
    }
    cells = tuple((name, value) for name, value in rows.items() if value)
    return Table(title="", columns=text_columns("What", "Value"), cells=cells, notes=())


def _cost(run: Run, weights: Weights) -> str:
    """What training had cost when these weights were evaluated; empty where they were not."""
    reached = next((one for one in run.evals if one.update == weights.update), None)
    if reached is None:
        return ""
    unit = flop_unit(reached.flops_total)
    return f", {reached.samples:,} samples, {digits(reached.flops_total / unit.size)} {unit.name}"


def _fingerprint(environment: Mapping[str, Any]) -> str:
    found = _at(environment, "weights")
    return f", weights {found}" if isinstance(found, str) else ""


def _numbers(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in sorted(settings.items()):
        if key.startswith(prefix) and isinstance(value, int | float):
            yield key, int(value) if value == int(value) else value


def _items(environment: Mapping[str, Any], part: str) -> str:
    count, revision = _at(environment, "data", part, "items"), _at(environment, "data", part, "origin", "revision")
    told = f", {count:,} items" if isinstance(count, int) else ""
    return f"{told}, revision {revision}" if isinstance(revision, str) else told


def _scores(run: Run, records: Sequence[EvalRecord]) -> Iterator[str]:
    """A table for each evaluation of these weights, what it was on and how they were decoded."""
    if not records:
        yield "These weights were not evaluated: the run has evaluations of other checkpoints alone, or none."
        return
    bases = {protocol_of(one): one for one in latest(run) if one.checkpoint == "base"}
    for record in records:
        base = bases.get(protocol_of(record))
        place = f"{data_name(record.data)}, {record.split} split (items {record.items_sha256[:8]})"
        prompts = record.prompts.get("published")
        asked = f"; prompts: {prompts}" if isinstance(prompts, str) else ""
        yield f"{escape_markdown(capitalized(place))}{escape_markdown(asked)}:"
        yield table_markdown(_score_table(record, base))
        decoding = ", ".join(f"{name} {value}" for name, value in flatten(record.decoding).items())
        yield f"Decoding: {escape_markdown(decoding)}. {record.nfe:.4g} forward passes per completion."
    yield ONE_SEED


def _score_table(record: EvalRecord, base: EvalRecord | None) -> Table:
    main = headline_metric(record.metrics)
    names = sorted(record.metrics, key=lambda name: (name != main, name))
    totals = [(name, record.metrics[name], base.metrics.get(name) if base else None) for name in names]
    cells = tuple(
        (
            capitalized(metric_name(name)),
            with_interval(own.value, items_interval(own), percent),
            percent(before.value) if before else DASH,
            f"{own.n:,}",
        )
        for name, own, before in totals
    )
    columns = (*text_columns("Metric"), *number_columns("Score, % [95 % interval]", "Base model, %", "Items"))
    return Table(title="", columns=columns, cells=cells, notes=())


def _made_with(run: Run, environment: Mapping[str, Any]) -> Iterator[str]:
    """The versions behind the run, and what the command leaves to the reader."""
    commit, dirty = (_at(environment, "git", name) for name in ("commit", "dirty"))
    at = f" at commit {commit}{' with changes of its own' if dirty else ''}" if commit else ""
    versions = [f"{name} {_at(environment, 'packages', name)}" for name in ("torch", "transformers", "peft")]
    told = [f"Python {_at(environment, 'python')}", *versions, f"device {_at(environment, 'device')}"]
    known = [text for text in told if not text.endswith("None")]
    harness = _at(environment, "harness")
    if harness:
        yield f"It was trained with {HARNESS} {escape_markdown(', '.join([f'{harness}{at}', *known]))}."
    entry = registry.entry("method", run.identity.method)
    if entry is None or entry.path.parent in registry.include_paths():
        yield "The method is in a file of its author's own, which the command needs too: `--include-path FOLDER`."


def _use(weights: Weights, task: str) -> Iterator[str]:
    yield "## How to use it"
    where = f"--model {weights.base} --adapter FOLDER" if weights.form == ADAPTER else "--model FOLDER"
    yield f"```sh\nharness eval --task {task} {where}\n```"
    yield "FOLDER is where these files lie. Their names and layout are those of the base model's own checkpoint."


def _citation(run: Run, weights: Weights) -> str:
    paper, method = paper_of(run.identity.method), escape_markdown(method_name(run.identity.method))
    known = f"[arXiv {paper}](https://arxiv.org/abs/{paper})" if paper else "its file names no paper"
    base = f"the base model: as [its page](https://huggingface.co/{weights.hub_base}) asks" if weights.hub_base else ""
    harness = f"{HARNESS}: `CITATION.cff` in its repository"
    return "\n".join(f"- {line}" for line in (f"{method}: {known}", base, harness) if line)


def _code(text: str) -> str:
    """A name as code, whatever it holds."""
    return f"`{' '.join(text.replace('`', ' ').split())}`"
