"""`harness show`: one run, recipe, method or configuration key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.app import catalogue
from harness.cli.feedback import echo
from harness.cli.options import IncludePath, Json
from harness.cli.tables import show_table
from harness.errors import UserError
from harness.report.labels import digits, flop_unit, metric_name, one_line, percent

Record = dict[str, Any]

ANY = "all"
FLAGS = {
    "takes_cached": "rollouts with a cache",
    "takes_adaptive": "rollouts with thresholds",
    "takes_blocks": "models that attend by blocks",
}


def show(
    what: Annotated[
        str,
        typer.Argument(
            help="A run's folder; a recipe, egspo-sa:paper or FILE.yaml; a method; a key, optimizer.learning_rate, or "
            "a section of keys.",
            metavar="RUN|RECIPE|METHOD|KEY",
            show_default=False,
        ),
    ],
    task: Annotated[str, typer.Option(help="With a recipe: the task; all that it is for by default.")] = "",
    method: Annotated[str, typer.Option(help="With a recipe of a file: the method, where the file names none.")] = "",
    include_path: IncludePath = None,
    as_json: Json = False,
) -> None:
    """Show one run, recipe, method or configuration key: every value with its source and its meaning.

    harness show egspo-sa:paper --task math500; harness show optimizer.learning_rate; harness show espo.
    """
    registry.add_include_paths(include_path or [])
    found = _find(what, method=method, task=task)
    if as_json:
        typer.echo(json.dumps(found, indent=2, default=str))
    else:
        SHOWN[found["shown"]](found)


def _find(what: str, *, method: str, task: str) -> Record:
    """What is asked for: folders come before recipes, recipes before methods, methods before keys."""
    from harness.app import show as documents
    from harness.config.recipe_files import TINY, YAML

    folder = Path(what).expanduser()
    is_method = registry.entry("method", what) is not None
    if not documents.is_run(folder) and (":" in what or what.endswith(YAML) or method or (is_method and task)):
        return documents.recipe(f"{what}:{TINY}" if is_method else what, method=method, task=task)
    if task or method:
        raise UserError(f"--task and --method go with a recipe, and '{what}' is none; leave them out.")
    if documents.is_run(folder):
        return documents.run(folder)
    if is_method:
        return documents.method(what)
    if (found := documents.key(what))["keys"]:
        return found
    if folder.is_dir():
        raise UserError(f"'{what}' is not a run's folder; harness list {what} shows the runs below it.")
    raise UserError(
        f"'{what}' is neither a run's folder, nor a recipe such as egspo-sa:paper, nor a method, nor a configuration "
        f"key. {catalogue.near(what)}"
    )


def _show_keys(found: Record) -> None:
    from harness.config.keys import shown

    if len(found["keys"]) > 1:
        from harness.cli.list import SHAPES

        SHAPES["keys"].show(found["keys"])
        return
    (key,) = found["keys"]
    of = f", an option of {key['method']}" if key["method"] else ""
    echo(f"{key['key']}{of}: {key['meaning']}")
    echo(f"Type: {key['type']}")
    if key["choices"]:
        echo(f"Choices: {', '.join(map(shown, key['choices']))}")
    echo(f"Default: {shown(key['default'])}")
    echo(f"Counts in the name of a run's folder: {key['names_the_run']}\n")
    rows = [(one["recipe"], one["task"] or ANY, shown(one["value"]), one["source"]) for one in key["set_by"]]
    if rows:
        _table("Set by", ("Recipe or protocol", "Task", "Value", "Source"), rows)
    else:
        echo("No recipe and no protocol sets it.")


def _show_recipe(found: Record) -> None:
    from harness.config.keys import shown
    from harness.config.meanings import first_sentence

    tasks, several = ", ".join(found["tasks"]), len(found["tasks"]) > 1
    echo(f"Recipe {found['recipe']} of {found['method']} on {tasks}\n")

    def row(value: Record) -> tuple[str, ...]:
        whole = value["tasks"] == found["tasks"]
        only = (ANY if whole else ", ".join(value["tasks"]),) if several else ()
        source = value["source"] or value["from"]
        return (value["key"], shown(value["value"]), *only, source, first_sentence(value["meaning"]))

    heads = ("Key", "Value", *(("Tasks",) if several else ()), "Source", "Meaning")
    stated = [row(value) for value in found["values"] if value["from"] != "default"]
    defaults = [row(value) for value in found["values"] if value["from"] == "default"]
    _table("What the recipe and the protocols of its tasks say", heads, stated)
    _table("Defaults", heads, defaults)


def _show_method(found: Record) -> None:
    from harness.cli.list import SHAPES

    aliases = f", also {', '.join(found['aliases'])}" if found["aliases"] else ""
    echo(f"{found['method']} ({found['title']}){aliases}: {found['about']}")
    echo(f"File: {found['file']}")
    echo(f"Takes: {', '.join(said for flag, said in FLAGS.items() if found[flag]) or 'exact rollouts alone'}")
    if found["ablations"]:
        echo(f"Reported as ablations: {', '.join(found['ablations'])}")
    for section, tasks in found["recipes"].items():
        echo(f"Recipe {found['method']}:{section}, for {', '.join(tasks)}")
    echo("")
    if found["options"]:
        SHAPES["keys"].show(found["options"])
    else:
        echo("It has no options.")


def _show_run(found: Record) -> None:
    from harness.config.keys import shown
    from harness.config.meanings import first_sentence

    identity = found["identity"]
    echo(f"{found['folder']}: {_title(identity)}")
    if found["evaluated_only"]:
        echo("Evaluations of harness eval alone: nothing was trained here.")
    else:
        because = f": {found['reason']}" if found["reason"] else ""
        echo(f"State: {catalogue.DEAD if found['state'] == 'dead' else found['state']}{because}")
        echo(f"Progress: {_progress(found['progress'])}")
        echo(f"Budget: {', '.join(f'{name}={value}' for name, value in found['budget'].items())}")
        echo(f"Checkpoints kept: {', '.join(found['checkpoints']) or 'none'}")
    echo("")
    rows = [(one["key"], shown(one["value"]), one["from"], first_sentence(one["meaning"])) for one in found["settings"]]
    if rows:
        _table("Settings that are not the defaults", ("Key", "Value", "From", "Meaning"), rows)
    _show_scores(found["scores"])
    if found["command"]:
        echo(f"Again: {found['command']}")


def _title(identity: Mapping[str, Any]) -> str:
    reward = f", reward {identity['reward']}" if identity["reward"] != "task" else ""
    return (
        f"{identity['method']} on {identity['task']}, model {identity['model']}, recipe {identity['recipe']}, seed "
        f"{identity['seed']}{reward}, {identity['train_data']} data"
    )


def _progress(counts: Mapping[str, Any]) -> str:
    said = [f"{counts['updates']:,} updates", f"{counts['samples']:,} samples"]
    if counts["flops"]:
        unit = flop_unit(counts["flops"])
        said.append(f"{digits(counts['flops'] / unit.size)} {unit.name}")
    if counts["seconds"]:
        said.append(f"{digits(counts['seconds'])} s of training")
    return ", ".join(said)


def _show_scores(scores: Sequence[Record]) -> None:
    if not scores:
        echo("There is no evaluation yet.\n")
        return
    metrics = list(dict.fromkeys(metric for one in scores for metric in one["metrics"]))
    heads = ("Checkpoint", "Update", "Data", "Split", "Tokens", "Steps", *(f"{metric_name(one)}, %" for one in metrics))
    rows = [
        (
            *map(str, (one["checkpoint"], one["update"], one["data"], one["split"])),
            *(one_line(str(one["decoding"].get(size, ""))) for size in ("completion_length", "num_steps")),
            *(_percent(one["metrics"].get(metric)) for metric in metrics),
        )
        for one in scores
    ]
    _table("Scores [95 % over the items]", heads, rows)


def _percent(measured: Mapping[str, Any] | None) -> str:
    if not measured or measured["value"] is None:
        return "-"
    return f"{percent(measured['value'])} [{percent(measured['low'])}, {percent(measured['high'])}]"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    show_table(title, heads, rows, numeric=[False] * len(heads))


SHOWN: Mapping[str, Callable[[Record], None]] = {
    "keys": _show_keys,
    "recipe": _show_recipe,
    "method": _show_method,
    "run": _show_run,
}
