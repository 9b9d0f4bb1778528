"""What commands find out, as plain values for --json: evaluations, a comparison, plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.config.resolve import Resolved, flatten

if TYPE_CHECKING:
    from harness.app.compare import Comparison
    from harness.app.evaluations import Evaluated
    from harness.app.plan import PlannedRun
    from harness.app.preflight import Preflight
    from harness.planning.memory import Footprint
    from harness.planning.rollouts import Traced
    from harness.records.schema import MetricTotals
    from harness.report.analysis.paired import Measured, Outcomes

Record = dict[str, Any]


def measured(totals: MetricTotals) -> Record:
    """A metric, a fraction of 1, with its 95 % interval over the items; without items the value is None."""
    from harness.report.analysis.statistics import items_interval

    found = items_interval(totals)
    return {"n": totals.n, **({"value": totals.value, **asdict(found)} if found else {"value": None})}


def evaluation(done: Evaluated) -> Record:
    """record: its line of eval.jsonl. already_there: whether it was done earlier and not again."""
    return {
        "task": done.task,
        "folder": None if done.folder is None else str(done.folder),
        "already_there": done.known,
        "metrics": {name: measured(totals) for name, totals in done.record.metrics.items()},
        "record": done.record.to_json(),
    }


def comparison(found: Comparison) -> Record:
    """Every checkpoint with its evaluation and those at other settings, and every pair: a line of comparison.csv."""
    from harness.report.chapters.paired import pair_points

    return {
        "evaluations": [_checkpoint(one) for one in found.measured],
        "pairs": [dict(record) for record in pair_points(found.pairs).records],
    }


def _checkpoint(one: Measured) -> Record:
    first, *others = map(_setting, one.evaluations)
    return {
        "task": one.task,
        "completion_length": one.completion_length,
        "checkpoint": one.label,
        "metric": one.main.metric,
        **first,
        "noise": None if one.noise is None else {"items_flipped": one.noise.flipped, "moved": one.noise.moved},
        "at_other_settings": others,
    }


def _setting(outcomes: Outcomes) -> Record:
    record = outcomes.record
    return {
        "batch_size": record.batch_size,
        "dtype": record.dtype,
        **measured(record.metrics[outcomes.metric]),
    }


def plans(found: Preflight, cells: Sequence[PlannedRun], *, config: bool) -> list[Record]:
    """What each of the cells takes, which take the same. config: with every setting and where it came from."""
    cost = found.cost
    taken = {
        "weights": {"source": found.sizes.source, "trainable": found.footprint.trainable},
        "data": found.data,
        "prompt_tokens": found.prompt[0],
        "prompt_tokens_from": found.prompt[1],
        "devices": found.spread.devices,
        "device": {"name": found.device.name, "bytes": found.device.memory},
        "memory_per_device": _memory(found.footprint),
        "compute": {
            "rollouts": cost.rollouts,
            "updates": cost.updates,
            "flops": sum(part.flops for part in cost.phases),
            "hours": sum(part.hours for part in cost.phases),
            "phases": {part.name: {"flops": part.flops, "hours": part.hours} for part in cost.phases},
        },
        "rate": {"flops_per_second": dict(found.rate.by_phase), "source": found.rate.source},
        "disk": {f"{name}_bytes": size for name, size in asdict(found.disk).items()},
        "fits": found.fits,
        "verdict": found.verdict,
        "fixes": list(found.changes),
        "peak_bytes_with_fixes": found.relieved or None,
    }
    shown = {"config": settings(found.planned.resolved)} if config else {}
    return [{**_cell(cell), **taken, **shown} for cell in cells]


def _cell(planned: PlannedRun) -> Record:
    identity = planned.identity
    return {
        "method": identity.method,
        "task": identity.task,
        "model": identity.model,
        "recipe": identity.recipe,
        "seed": identity.seed,
        "folder": str(planned.folder),
        "finished": planned.finished,
    }


def _memory(footprint: Footprint) -> Record:
    def phase(traced: Traced) -> Mapping[str, int]:
        return {"bytes": traced.bytes, "gradients": traced.gradients, "logits": traced.logits}

    return {
        "held_bytes": dict(footprint.held),
        "phases": {name: phase(traced) for name, traced in footprint.phases.items()},
        "update_with_activation_checkpointing": phase(footprint.checkpointed),
        "peak_bytes": footprint.total,
        "peak_during": footprint.worst,
    }


def settings(resolved: Resolved) -> list[Record]:
    """Every key with its value and the layer that it came from."""
    values = flatten({**resolved.config.to_dict(), "execution": vars(resolved.execution)})
    return [
        {"key": key, "value": value, "from": resolved.provenance.get(key, "")} for key, value in sorted(values.items())
    ]
