"""Synthetic run folders, written through harness.records as a run writes them, and the scripts of our study."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import yaml

from harness.records.jsonl import append_line, write_atomic, write_samples
from harness.records.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    EVAL_FILE,
    METRICS_FILE,
    TRACE_FILE,
    write_status,
)
from harness.records.schema import EvalRecord, GreedyTrace, MetricTotals, RunIdentity, RunStatus, TraceRecord
from harness.report.analysis.groups import Group, make_groups
from harness.report.analysis.paired import Measured, Outcomes
from harness.report.analysis.rows import MetricRows, Row, all_rows
from harness.report.formats.page import write_report
from harness.report.read.runs import collect

SETTINGS: dict[str, Any] = {
    "method": {"name": "egspo-sa", "num_selected": 2, "stepwise_weight": 0.5},
    "task": "sudoku",
    "seed": 0,
    "reward": "task",
    "model": {"name": "tiny", "device": "auto"},
    "data": {"test": "builtin", "train": "builtin"},
    "optimizer": {"learning_rate": 3e-4},
    "budget": {"updates": 24, "samples": 0, "flops": 0.0, "minutes": 0.0},
}


def sudoku_metrics(solved: int, *, n: int = 256) -> dict[str, MetricTotals]:
    """`solved` of n grids right, the rest with 4 of 8 blanks right; 200 of n grids legal."""
    cells = [(8.0, 8.0)] * solved + [(4.0, 8.0)] * (n - solved)
    return {
        "exact_match": MetricTotals.of([(1.0, 1.0)] * solved + [(0.0, 1.0)] * (n - solved)),
        "cell_accuracy": MetricTotals.of(cells),
        "validity": MetricTotals.of([(1.0, 1.0)] * min(n, 200) + [(0.0, 1.0)] * (n - min(n, 200))),
    }


def evaluation(checkpoint: str, update: int, metrics: Mapping[str, MetricTotals], **changes: Any) -> EvalRecord:
    """An evaluation after `update` updates of 64 samples, 1e10 FLOPs (4e9 of them forward) and half a second
    each."""
    values: dict[str, Any] = {
        "checkpoint": checkpoint,
        "update": update,
        "samples": 64 * update,
        "flops_total": 1e10 * update,
        "flops_forward": 4e9 * update,
        "seconds": 0.5 * update,
        "data": "builtin",
        "split": "test",
        "items_sha256": "0123456789abcdef",
        "decoding": {"num_steps": 8, "temperature": 0.0},
        "metrics": metrics,
        "ceiling": {},
        "nfe": 8.0,
        "tokens_per_second": 1000.0,
        "eval_seconds": 0.3,
        "eval_flops": 1e9,
        "samples_file": None,
    }
    return EvalRecord(**{**values, **changes})


def learning(start: int, end: int, *, updates: int = 24, every: int = 4) -> list[EvalRecord]:
    """Evaluations of a run whose solved grids of 256 rise from `start` to `end`, fast at first."""
    records = []
    for update in range(0, updates + 1, every):
        share = (1 - math.exp(-3 * update / updates)) / (1 - math.exp(-3))
        checkpoint = {0: "base", updates: "last"}.get(update, "step")
        records.append(evaluation(checkpoint, update, sudoku_metrics(round(start + share * (end - start)))))
    return records


def metrics_line(update: int, **changes: Any) -> dict[str, Any]:
    """One line of metrics.jsonl: the reward rises by a hundredth with every update, all else is the same."""
    values = {
        "update": update,
        "samples": 64 * update,
        "flops_total": 1e10 * update,
        "first_of_rollout": True,
        "reward_mean": 0.4 + update / 100,
        "kl": 0.0,
        "clip_low": 0.02,
        "clip_high": 0.01,
        "step_entropy": [0.1, 0.3],
        "completion_length": 16.0,
        "gradient_norm": 0.25,
        "chosen_steps": [1, 2],
    }
    return {**values, **changes}


def trace(**changes: Any) -> TraceRecord:
    """Four tokens in two steps; step 1 was chosen, its greedy completion ends in another token."""
    values: dict[str, Any] = {
        "iteration": 1,
        "update": 0,
        "example": "builtin-7",
        "prompt": "12..",
        "text": "1234",
        "reward": 0.75,
        "num_steps": 2,
        "tokens": ("1", "2", "3", "4"),
        "unmask_step": (0, 0, 1, 1),
        "entropy": (0.0, 0.2, 0.3, 0.5),
        "chosen_steps": (1,),
        "greedy": (GreedyTrace(step=1, tokens=("1", "2", "3", "3"), text="1233", reward=0.5),),
    }
    return TraceRecord(**{**values, **changes})


def write_run(
    root: Path,
    *,
    records: list[EvalRecord] | None = None,
    state: str = "finished",
    reason: str = "",
    updates: int = 24,
    lines: Sequence[Mapping[str, Any]] | None = None,
    traces: Sequence[TraceRecord] = (),
    settings: Mapping[str, Any] | None = None,
    provenance: Mapping[str, str] | None = None,
    prompts: str = "",
    **identity: Any,
) -> Path:
    """A run folder below `root`; `identity` overrides fields of RunIdentity. prompts: what it says of its training."""
    values = {
        "task": "sudoku",
        "method": "egspo-sa",
        "model": "tiny",
        "recipe": "tiny",
        "reward": "task",
        "seed": 0,
        "train_data": "builtin",
        "test_data": "builtin",
        "config_hash": "0a1b2c3d",
    }
    who = RunIdentity(**{**values, **identity})
    folder = root / who.folder
    folder.mkdir(parents=True)
    tree = {
        "schema": 1,
        "identity": {name: value for name, value in vars(who).items() if name != "extra"},
        "config": settings or {**SETTINGS, "seed": who.seed},
        "provenance": dict(provenance or {"optimizer.learning_rate": "recipe", "budget.updates": "recipe"}),
    }
    write_atomic(folder / CONFIG_FILE, yaml.safe_dump(tree))
    if prompts:
        environment = {"prompts": {"training": {"published": prompts}}}
        write_atomic(folder / ENVIRONMENT_FILE, json.dumps(environment))
    for line in [metrics_line(update) for update in range(1, updates + 1)] if lines is None else lines:
        append_line(folder / METRICS_FILE, line)
    for item in traces:
        append_line(folder / TRACE_FILE, item.to_json())
    for record in learning(40, 160) if records is None else records:
        append_line(folder / EVAL_FILE, record.to_json())
    write_status(folder, RunStatus(state=state, updates=updates, samples=64 * updates, reason=reason))
    return folder


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Makes run folders below `root` and the records for them."""

    root: Path

    evaluation = staticmethod(evaluation)
    learning = staticmethod(learning)
    metrics = staticmethod(sudoku_metrics)
    line = staticmethod(metrics_line)
    trace = staticmethod(trace)
    settings: ClassVar[Mapping[str, Any]] = SETTINGS

    def run(self, **arguments: Any) -> Path:
        """Writes a run folder and returns it; arguments as in write_run."""
        return write_run(self.root, **arguments)

    @staticmethod
    def samples(right: Sequence[bool]) -> list[dict[str, Any]]:
        """The rows of a samples file with these verdicts."""
        verdicts = [{"exact_match": {"part": float(one), "whole": 1.0}} for one in right]
        return [{"id": f"item-{item}", "text": "", "metrics": metrics} for item, metrics in enumerate(verdicts)]

    def judged(self, right: Sequence[bool], *, name: str = "samples-last.jsonl.gz", **identity: Any) -> Path:
        """A run whose last checkpoint has these verdicts; name: of the samples file as its record has it."""
        metrics = {"exact_match": sudoku_metrics(sum(right), n=len(right))["exact_match"]}
        ends = [evaluation("base", 0, metrics), evaluation("last", 24, metrics, samples_file=name)]
        folder = self.run(records=ends, **identity)
        write_samples(folder / "samples-last.jsonl.gz", self.samples(right))
        return folder

    def groups(self) -> list[Group]:
        """The groups of the runs written so far."""
        return make_groups(collect([self.root]).runs)

    def tables(self, **options: Any) -> list[MetricRows]:
        """The tables of the runs written so far; options as in all_rows."""
        return all_rows(self.groups(), **options)

    def rows(self, metric: str = "exact_match") -> list[Row]:
        """The rows of the runs written so far."""
        return [row for found in self.tables() if found.metric == metric for row in found.rows]

    @staticmethod
    def ends(base: int, last: int, **changes: Any) -> list[EvalRecord]:
        """The first and the last evaluation of a run, with so many grids solved."""
        return [
            evaluation("base", 0, sudoku_metrics(base), **changes),
            evaluation("last", 24, sudoku_metrics(last), **changes),
        ]

    def demo(self) -> Path:
        """The demo's runs: two methods and a random-reward control, three seeds each. Returns the root."""
        for seed in range(3):
            self.run(seed=seed, records=learning(38, 158 + 4 * seed), traces=[trace(), trace(iteration=24, update=46)])
            self.run(seed=seed, method="egspo", config_hash="1b2c3d4e", records=learning(38, 140 + 9 * seed))
            self.run(seed=seed, reward="random", config_hash="2c3d4e5f", records=learning(38, 36 + 5 * seed))
        return self.root


@pytest.fixture(scope="session")
def synthetic_below() -> Callable[[Path], Synthetic]:
    """Run folders below a place of the caller's."""
    return lambda root: Synthetic(root=root)


@pytest.fixture
def synthetic(tmp_path: Path) -> Synthetic:
    """Run folders below `tmp_path / "runs"`."""
    return Synthetic(root=tmp_path / "runs")


@dataclass(frozen=True)
class Scored:
    """Evaluations of a metric with a given part and whole per item."""

    @staticmethod
    def outcomes(parts: Sequence[float], wholes: Sequence[float] | None = None) -> Outcomes:
        ratios = list(zip(parts, wholes or [1.0] * len(parts), strict=True))
        decoding = {"num_steps": 8, "completion_length": 16}
        samples = [{"metrics": {"score": {"part": part, "whole": whole}}} for part, whole in ratios]
        record = evaluation("last", 8, {"score": MetricTotals.of(ratios)}, decoding=decoding)
        return Outcomes.of(record, samples)

    def checkpoint(self, label: str, *settings: Sequence[float], task: str = "sudoku") -> Measured:
        """The parts of its items at the setting that counts, and at others."""
        return Measured(label=label, task=task, evaluations=tuple(map(self.outcomes, settings)))


@pytest.fixture
def scored() -> Scored:
    """Makes evaluations and checkpoints from the parts of their items."""
    return Scored()


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html of the demo's runs, one more method and a failed run, beside everything else of its report."""
    place = tmp_path_factory.mktemp("demo")
    made = Synthetic(root=place / "runs")
    made.demo()
    made.run(method="espo", records=learning(38, 90), traces=[trace(greedy=())])
    made.run(method="agrpo", state="failed", reason="loss became NaN")
    write_report(collect([made.root]), place / "out")
    return place / "out" / "report.html"


@pytest.fixture(scope="session")
def study_script() -> Callable[[str], ModuleType]:
    """Loads results/study/<name>.py, which belongs to no package."""
    return _study_script


def _study_script(name: str) -> ModuleType:
    file = Path(__file__).resolve().parents[2] / "results" / "study" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"study_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
