"""Writes the tables of docs/results.md, docs/estimators.md and README.md from the records here (`make study-page`).

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config.published.claims import ANY, load_claims
from harness.records.jsonl import write_atomic
from harness.report.analysis.claims import Held, Row, hold
from harness.report.analysis.curves import FLOPS, make_panels
from harness.report.analysis.effects import NOT_VISIBLE
from harness.report.analysis.groups import Group, make_groups, overrides
from harness.report.analysis.rows import Row as MethodRow
from harness.report.analysis.rows import all_rows, headline_rows
from harness.report.analysis.statistics import mean
from harness.report.chapters.claims import effect_text, smallest_text
from harness.report.chapters.pairs import chance
from harness.report.chapters.table import with_interval
from harness.report.figures.curves import curve_figure
from harness.report.labels import method_colours, method_name, metric_name, percent, points, task_name
from harness.report.read.runs import Collection, collect

STUDY = Path(__file__).resolve().parent
CHECKOUT = STUDY.parents[1]
PAGES = ("docs/results.md", "docs/estimators.md", "README.md")
MARK = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end of table -->)", re.S)
TASKS = ("sudoku", "countdown", "gsm8k", "math500", "mbpp", "humaneval")
TEN_SEEDS, THREE_SEEDS = TASKS[:2], TASKS[2:]
TINY, WEAKER, OWN = "tiny", "weaker", "our study"
UNTOLD = ("evaluation.", "optimizer.", "model.lora.rank")
LAPTOP = "egspo-sa"
FIVE = ("agrpo", "d1", "egspo", "egspo-sa", "espo")
PICTURE = "docs/images/study-sudoku.png"
ORDERS = ("random", "left-to-right", "confidence")
OTHER_BASELINES = ("step", "none")


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the records give. rows: of each task's headline metric on test items."""

    collection: Collection
    rows: Mapping[str, Sequence[MethodRow]]
    held: Held

    def of(self, task: str, model: str = TINY, *, decoded: bool = True) -> list[MethodRow]:
        """Rows of a task, the highest first. decoded: as the runs' configuration says."""
        found = [row for row in self.rows.get(task, ()) if row.group.model == model]
        kept = [row for row in found if not decoded or row.group.is_decoded_as_configured]
        return sorted(kept, key=lambda row: (-row.value, name_of(row.group)))


def read(study: Path = STUDY) -> Material:
    """Everything in the folder of the study."""
    collection = collect([study])
    groups = make_groups(collection.runs)
    tested = [group for group in groups if group.protocol.split == "test"]
    heads = headline_rows(all_rows(tested))
    held = hold(load_claims([study]), groups, estimators=collection.estimators)
    return Material(collection=collection, rows={task: found.rows for task, found in heads.items()}, held=held)


def name_of(group: Group) -> str:
    """The method and what its runs change of the recipe, the learning rate apart: `AGRPO (draws=independent)`."""
    reward = (
        [] if group.has_recipe_reward else [{"random": "random reward"}.get(group.reward, f"reward={group.reward}")]
    )
    changed = overrides(group.members[0].run)
    told = [f"{key.rpartition('.')[2]}={_plain(value)}" for key, value in changed.items() if not key.startswith(UNTOLD)]
    lora = ["LoRA"] if "model.lora.rank" in changed else []
    every = [*lora, *reward, *(text for text in told if not text.startswith("dropout="))]
    return method_name(group.method) + (f" ({', '.join(every)})" if every else "")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def methods(material: Material, task: str, model: str = TINY) -> list[str]:
    """All cells of a task."""
    head = [
        "method",
        "learning rate",
        f"{metric_name(material.of(task, model)[0].metric)}, % [95 %]",
        "updates",
        "GFLOP",
    ]
    cells = [
        [name_of(row.group), _rate(row), _value(row), f"{row.updates:.0f}", f"{row.flops_total / 1e9:,.0f}"]
        for row in material.of(task, model)
    ]
    return table(head, cells)


def _rate(row: MethodRow) -> str:
    return f"{row.group.settings['optimizer.learning_rate']:.0e}".replace("e-0", "e-")


def _value(row: MethodRow) -> str:
    return with_interval(row.value, row.interval, percent)


def laptop(material: Material) -> list[str]:
    """What one method learns on each task, beside its control."""
    cells = []
    for task in (task for task in TASKS if material.of(task)):
        named = {name_of(row.group): row for row in material.of(task)}
        own, control = named[method_name(LAPTOP)], named[f"{method_name(LAPTOP)} (random reward)"]
        assert own.base is not None
        seconds = mean([record.seconds for record in own.group.lasts])
        gain = points(own.value - own.base)
        cells.append(
            [
                task_name(task),
                percent(own.base),
                _value(own),
                gain,
                _value(control),
                str(len(own.seeds)),
                f"{seconds:.0f}",
            ]
        )
    return table(
        ["task", "base, %", f"{method_name(LAPTOP)}, % [95 %]", "gain, points", "random reward, %", "seeds", "seconds"],
        cells,
    )


def other_tasks(material: Material) -> list[str]:
    """The methods on the tasks with three seeds, a column each, and the base."""
    found = {task: {name_of(row.group): row for row in rows} for task in THREE_SEEDS if (rows := material.of(task))}
    names = sorted({name for named in found.values() for name in named}, key=str.casefold)
    cells = [[name, *(_value(named[name]) for named in found.values())] for name in names]
    base = ["base", *(percent(named[names[0]].base or 0.0) for named in found.values())]
    return table(["method", *(f"{task_name(task)}, % [95 %]" for task in found)], [*cells, base])


def claims(material: Material, tasks: Sequence[str]) -> list[str]:
    """The papers' claims on some tasks."""
    rows = [row for row in material.held.rows if row.claim.paper != OWN and row.first.model == TINY]
    told = [row for row in rows if row.claim.first.method != ANY and row.first.task in tasks]
    return _claims(told, lambda row: row.first.task, tasks, task_name)


def follow_up(material: Material) -> list[str]:
    """Our own questions, and the papers' claims where the base knows less."""
    own = [row for row in material.held.rows if row.claim.paper == OWN]
    return _claims(own, lambda row: row.first.task, TEN_SEEDS, task_name)


def weaker(material: Material) -> list[str]:
    """The papers' claims on the base that knows less, beside the shipped one."""
    rows = [row for row in material.held.rows if row.first.task == TASKS[0] and row.claim.paper != OWN]
    names = {row.claim.name for row in rows if row.first.model == WEAKER}
    kept = [row for row in rows if row.claim.name in names and row.claim.first.method != ANY]
    return _claims(kept, lambda row: row.first.model, (TINY, WEAKER), lambda model: f"{model} base")


def _claims(
    rows: Sequence[Row], place: Callable[[Row], str], places: Iterable[str], title: Callable[[str], str]
) -> list[str]:
    """A line for each claim, a column for each place."""
    found = {(row.claim.says, place(row)): row for row in rows}
    used = [one for one in places if any(there == one for _, there in found)]
    papers = {row.claim.says: row.claim.paper for row in rows}
    cells = [
        [says, paper, *(claim_cell(found[says, one]) if (says, one) in found else "-" for one in used)]
        for says, paper in papers.items()
    ]
    return table(["claim", "paper", *map(title, used)], cells)


def claim_cell(row: Row) -> str:
    """`**supported** 0.36 [0.30, 0.43], p <0.001`; of what is not visible also what would be."""
    told = f"{effect_text(row)}, p {chance(row.adjusted)}"
    if row.verdict == NOT_VISIBLE:
        return f"not visible: {told}; {smallest_text(row)} would be"
    return f"**{row.verdict}**: {told}"


def fewer_steps(material: Material) -> list[str]:
    """The same last checkpoints decoded with a half and a quarter of the steps."""
    cells = []
    for task in TEN_SEEDS:
        every = [row for row in material.of(task, decoded=False) if not _is_changed(row.group)]
        steps = sorted({_steps(row) for row in every}, reverse=True)
        known = {(row.group.method, _steps(row)): row for row in every}
        methods = dict.fromkeys(row.group.method for row in every if _steps(row) != steps[0])
        for method in sorted(methods):
            values = [f"{_value(known[method, one])} in {one}" for one in steps]
            cells.append([task_name(task), method_name(method), *values, *["-"] * (3 - len(values))])
    return table(["task", "method", "all steps, %", "half of them, %", "a quarter, %"], cells)


def _is_changed(group: Group) -> bool:
    return name_of(group) != method_name(group.method)


def _steps(row: MethodRow) -> int:
    return int(row.group.settings["evaluation.decoding.num_steps"])


def errors(material: Material) -> list[str]:
    """Whether the error of its estimate tells how high a method ends."""
    found = [one for one in material.held.predictions if one.model == TINY]
    cells = [
        [
            task_name(one.task),
            one.error,
            str(len(one.methods)),
            with_interval(one.value, one.interval, lambda value: f"{value:+.2f}"),
            chance(one.p),
            chance(one.adjusted),
            f"{-one.smallest:+.2f}",
            one.verdict,
        ]
        for one in found
    ]
    head = ["task", "error", "methods", "rank correlation [95 %]", "p", "p (Holm)", "would show", "verdict"]
    return table(head, cells)


def counts(material: Material) -> list[str]:
    """How many rows of claims, of all tasks and models, came to which verdict."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in material.held.rows:
        found.setdefault((row.first.task, row.first.model), []).append(row.verdict)
    names = ("supported", "contradicted", NOT_VISIBLE)
    cells = [
        [task_name(task), model, *(str(verdicts.count(name)) for name in names)]
        for (task, model), verdicts in sorted(found.items(), key=lambda one: (TASKS.index(one[0][0]), one[0][1]))
    ]
    return table(["task", "model", *names], cells)


def estimators(*, ends_early: bool) -> list[str]:
    """What `harness diagnose` measured; of EGSPO's baselines the one of its code."""
    with open(STUDY / "diagnose" / "estimators.csv", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["baseline"] not in OTHER_BASELINES]
    found: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["ends_early"] == str(ends_early).lower():
            found.setdefault((row["method"], row["options"], row["size"]), {})[row["order"]] = row
    cells = [
        [
            method_name(method),
            options.replace(" fitted scale", " *"),
            size if size != "0" else "-",
            f"{own[ORDERS[0]]['forwards_per_completion']} / {own[ORDERS[0]]['backwards_per_completion']}",
            *(
                " / ".join(show(float(own[order][column])) for order in ORDERS)
                for column, show in (
                    ("bias", lambda value: f"{100 * value:.0f}"),
                    ("angle_degrees", lambda value: f"{value:.0f}"),
                    ("variance_at_equal_compute", lambda value: f"{value:.3g}"),
                )
            ),
        ]
        for (method, options, size), own in found.items()
    ]
    head = ["method", "options", "K or M", "fwd / bwd", "bias %, random / left / surest", "angle °"]
    return table([*head, "variance at equal compute"], cells)


def table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(one)} |" for one in (head, ["---"] * len(head), *cells)]


TABLES: Mapping[str, Callable[[Material], list[str]]] = {
    "sudoku": lambda material: methods(material, "sudoku"),
    "countdown": lambda material: methods(material, "countdown"),
    "weaker-methods": lambda material: methods(material, "sudoku", WEAKER),
    "laptop": laptop,
    "other-tasks": other_tasks,
    "claims": lambda material: claims(material, TEN_SEEDS),
    "other-claims": lambda material: claims(material, THREE_SEEDS),
    "follow-up": follow_up,
    "weaker": weaker,
    "fewer-steps": fewer_steps,
    "errors": errors,
    "counts": counts,
    "estimators": lambda _: estimators(ends_early=False),
    "estimators-early": lambda _: estimators(ends_early=True),
}


def picture(material: Material) -> bytes:
    """The README's: the papers' five methods and the control against training compute, as PNG."""
    named = {name_of(row.group): row.group for row in material.of("sudoku")}
    shown = [*map(method_name, FIVE), f"{method_name(LAPTOP)} (random reward)"]
    panel = make_panels([replace(named[name], variant="") for name in shown])[0]
    return curve_figure(panel, FLOPS, method_colours(FIVE)).draw().png


def written(text: str, material: Material) -> str:
    """The text of a page with its tables made anew."""
    return MARK.sub(lambda found: f"{found[1]}{chr(10).join(TABLES[found[2]](material))}\n{found[3]}", text)


def main() -> None:
    """The pages, in place, and the picture."""
    material = read()
    write_atomic(CHECKOUT / PICTURE, picture(material))
    for page in (CHECKOUT / name for name in PAGES):
        write_atomic(page, written(page.read_text(encoding="utf-8"), material))


if __name__ == "__main__":
    main()
