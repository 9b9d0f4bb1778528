"""What there is to run and what has run, as plain values: methods, tasks, models, recipes, protocols, checkpoints, keys
and runs. Nothing here needs torch but the models, whose families are transformers' classes, and the options of methods,
whose files import it.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from harness.models.layout import Layout
    from harness.records.schema import RunStatus
    from harness.report.read.runs import Run, Skipped

Record = dict[str, Any]

BOTH, BLOCKS, EITHER = "both directions", "blocks", "both directions or blocks"
MOST_NEAR = 3
DEAD = "dead: the same command goes on with it"


def methods() -> list[Record]:
    """The methods that are registered, with their recipes. Runs none of their files."""
    from harness.config.library import sections_of
    from harness.config.recipes import built_in_folder, recipes_of

    found = []
    for name in registry.names("method"):
        entry = registry.entry("method", name)
        assert entry is not None
        found.append(
            {
                "method": name,
                "title": entry.title,
                "aliases": list(entry.names[1:]),
                "recipes": list(sections_of(name)),
                "own_recipes": list(recipes_of(name, built_in_folder())),
                "ablations": [f"method.{option}" for option in entry.ablations],
                "file": str(entry.path),
            }
        )
    return found


def tasks() -> list[Record]:
    """The tasks that are registered, with how each section of their protocols evaluates."""
    from harness.config.build import build
    from harness.config.decoding import Decoding
    from harness.config.recipes import built_in_folder, protocol_of

    found = []
    for name in registry.names("task"):
        entry = registry.entry("task", name)
        assert entry is not None
        protocols = {}
        for section, values in protocol_of(name, built_in_folder()).items():
            decoding: Decoding = build(Decoding, values["evaluation"]["decoding"], "evaluation.decoding")
            sizes = {size: getattr(decoding, size) for size in ("completion_length", "block_length", "num_steps")}
            protocols[section] = {**sizes, "items": values["evaluation"]["items"]}
        found.append({"task": name, "title": entry.title, "protocols": protocols, "file": str(entry.path)})
    return found


def models() -> list[Record]:
    """The families of models by the model_type of their config.json, with what is supported."""
    from harness.models.layouts import LAYOUTS

    takes_blocks = {name: registry.get_method(name).takes_blocks for name in registry.names("method")}
    return [_model(layout, takes_blocks) for layout in LAYOUTS.values()]


def _model(layout: Layout, takes_blocks: Mapping[str, bool]) -> Record:
    from transformers import Qwen3MoeForCausalLM

    from harness.config.decoding import CACHES
    from harness.config.meanings import first_sentence
    from harness.config.published.checkpoints import published_checkpoints

    attention = _attention(layout)
    has_experts = issubclass(layout.model_class, Qwen3MoeForCausalLM)
    published = [cls for cls in layout.model_class.__mro__ if cls.__module__.startswith("transformers.")]
    about = " ".join((inspect.getdoc(sys.modules[layout.to_config.__module__]) or "").split("\n\n")[0].split())
    return {
        "model_type": layout.model_type,
        "about": first_sentence(about),
        "class": published[0].__name__,
        "attention": attention,
        "shifted_by_one": layout.shift,
        "mask": f"{layout.mask_token} of the tokenizer" if layout.mask_token else "config.json",
        "caches": list(CACHES) if attention != BLOCKS else ["none"],
        "trained_by": [name for name, takes in takes_blocks.items() if takes or attention != BLOCKS],
        "trained_by_with_blocks": [name for name, takes in takes_blocks.items() if takes and attention != BOTH],
        "compile": not has_experts,
        "checkpoints": [one.name for one in published_checkpoints() if one.layout == layout.model_type],
    }


def _attention(layout: Layout) -> str:
    """Whether tokens attend to all others, by blocks, or to either as config.json or the checkpoint's name says."""
    from harness.models.config_fields import Fields
    from harness.models.layout import no_blocks

    if layout.attention is no_blocks:
        return BOTH
    try:
        return BLOCKS if layout.attention(Fields({}, Path()), "").block_length else EITHER
    except UserError:  # config.json has to state the length of a block
        return BLOCKS


def recipes() -> list[Record]:
    """Every recipe of every method: for which tasks, for which model, and whose values it holds."""
    from harness.config.library import named_recipes

    return [
        {
            "recipe": one.name,
            "method": one.method,
            "name": one.section,
            "tasks": list(one.tasks),
            "model": one.model,
            "values_from": list(one.values_from),
        }
        for one in named_recipes()
    ]


def keys(names: Sequence[str] = ()) -> list[Record]:
    """Configuration keys. names: sections, methods or keys to show alone; all by default. Raises UserError for a name
    that is none of these."""
    from harness.config.keys import all_sections, find_keys

    if not names:
        return [key.to_record() for section in all_sections() for key in section.keys]
    found = []
    for name in names:
        if not (named := find_keys(name)):
            raise UserError(f"'{name}' is neither a configuration key, nor a section, nor a method. {near(name)}")
        found += [key.to_record() for key in named]
    return found


def near(name: str) -> str:
    """A sentence about keys that look like `name`, or about where all of them are listed."""
    from harness.config.keys import all_sections
    from harness.config.near import near_keys

    found = near_keys(name, (key.name for section in all_sections() for key in section.keys))
    return did_you_mean(*found[:MOST_NEAR]).strip() or "harness list keys shows all of them."


def protocols() -> list[Record]:
    """How papers evaluate the tasks, those among them that cannot be followed here."""
    from dataclasses import asdict

    from harness.config.published.protocols import load_protocol, protocol_names

    return [
        {
            "protocol": one.protocol,
            "task": one.task,
            "decodings": [asdict(decoding) for decoding in one.decodings],
            "items": one.items,
            "few_shot": one.few_shot,
            "grader": one.grader,
            "prefill": one.prefill,
            "unavailable": one.unavailable,
        }
        for name in protocol_names()
        for one in load_protocol(name).tasks.values()
    ]


def checkpoints() -> list[Record]:
    """Published checkpoints, with what their authors state and why one cannot be loaded."""
    from dataclasses import asdict

    from harness.app.checkpoints import why_not_loaded
    from harness.config.published.checkpoints import published_checkpoints

    return [{**asdict(one), "place": one.place, "not_loaded": why_not_loaded(one)} for one in published_checkpoints()]


def runs(paths: Iterable[Path]) -> list[Record]:
    """The runs at or below `paths`, those that wait in Slurm's queue among them."""
    from harness.app.launch import in_queue
    from harness.report.read.runs import scan

    found = {record["run"]: record for record in map(_run, scan(list(paths)))}
    for path in paths:
        for folder, job in in_queue(path).items():
            name = folder.relative_to(path).as_posix()
            found.setdefault(name, {**_nothing(name), "state": job})["job"] = job
    return list(found.values())


def _nothing(name: str) -> Record:
    return {
        "run": name,
        "state": "",
        "is_alive": False,
        "reason": "",
        "updates": 0,
        "samples": 0,
        "metric": None,
        "value": None,
        "at": None,
        "folder": None,
        "job": None,
    }


def _run(item: Run | Skipped) -> Record:
    from harness.report.read.runs import Skipped

    if isinstance(item, Skipped):
        return {**_nothing(item.path), "state": "left out", "reason": item.reason}
    status = item.status
    return {
        **_nothing(item.name),
        "folder": str(item.shown),
        "state": state(status),
        "is_alive": is_at_work(status),
        "reason": status.reason,
        "updates": status.updates,
        "samples": status.samples,
        **latest_score(item),
    }


def latest_score(run: Run) -> Record:
    """The headline metric of the latest checkpoint that has one: `metric`, `value` (a fraction), `at`."""
    from harness.report.analysis.groups import latest
    from harness.report.labels import headline_metric

    records = latest(run)
    metric = headline_metric({name for record in records for name in record.metrics})
    measured = [record for record in records if metric in record.metrics]
    if not measured:
        return {}
    last = measured[-1]
    value = last.metrics[metric].value
    at = last.checkpoint if last.checkpoint != "step" else f"update {last.update}"
    return {"metric": metric, "value": value if math.isfinite(value) else None, "at": at}


def state(status: RunStatus) -> str:
    """What a run says of itself; one that says it is running and shows no life was killed."""
    return "dead" if status.state == "running" and not is_at_work(status) else status.state


def is_at_work(status: RunStatus) -> bool:
    """Whether a run is running and has shown life of late."""
    from harness.app.heartbeat import is_alive

    return status.state == "running" and is_alive(status)


LISTS: Mapping[str, Callable[[], list[Record]]] = {
    "methods": methods,
    "tasks": tasks,
    "models": models,
    "recipes": recipes,
    "protocols": protocols,
    "checkpoints": checkpoints,
}
"""What needs no more than its name to be listed."""
