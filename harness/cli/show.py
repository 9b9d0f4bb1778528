"""`harness show`: one run, recipe, method, task or configuration key."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.app import catalogue
from harness.cli.options.shared import IncludePath, Json
from harness.cli.terminal.document import clear_output, show_document
from harness.cli.terminal.feedback import echo
from harness.cli.terminal.tables import show_table
from harness.errors import UserError, did_you_mean, nearest
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
            help="A run's folder; a recipe, egspo-sa:paper or FILE.yaml; a method; a task; a key, "
            "optimizer.learning_rate, or a section of keys.",
            metavar="RUN|RECIPE|METHOD|TASK|KEY",
            show_default=False,
        ),
    ],
    task: Annotated[str, typer.Option(help="With a recipe: the task; all that it is for by default.")] = "",
    method: Annotated[str, typer.Option(help="With a recipe of a file: the method, where the file names none.")] = "",
    include_path: IncludePath = None,
    as_json: Json = False,
) -> None:
    """Show one run, recipe, method, task or configuration key: every value with its source and its meaning.

    harness show egspo-sa:paper --task math500; harness show optimizer.learning_rate; harness show espo; harness show
    sudoku.
    """
    registry.add_include_paths(include_path or [])
    with clear_output(as_json):
        found = _find(what, method=method, task=task)
    if as_json:
        show_document(found)
    else:
        SHOWN[found["shown"]](found)


def _find(what: str, *, method: str, task: str) -> Record:
    """What is asked for: folders come before recipes, recipes before methods, then tasks, then keys."""
    from harness.app import show as documents
    from harness.app.show_task import task as task_document
    from harness.config.embedded import TINY
    from harness.config.recipe_files import YAML

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
    if registry.entry("task", what) is not None:
        return task_document(what)
    if (found := documents.key(what))["keys"]:
        return found
    if folder.is_dir():
        raise UserError(f"'{what}' is not a run's folder; harness list {what} shows the runs below it.")
    raise UserError(
        f"'{what}' is neither a run's folder, nor a recipe such as egspo-sa:paper, nor a method, nor a task, nor a "
        f"configuration key. {_near(what)}"
    )


def _near(what: str) -> str:
    names = nearest(what, [*registry.names("method"), *registry.names("task")])
    return did_you_mean(names).strip() or catalogue.near(what)


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


def _show_task(found: Record) -> None:
    aliases = f", also {', '.join(found['aliases'])}" if found["aliases"] else ""
    echo(f"{found['task']} ({found['title']}){aliases}: {found['about']}")
    echo(f"File: {found['file']}")
    if found["generator"]:
        echo(f"Built-in problems, {found['generator']['file']}: {found['generator']['about']}")
    papers = [one["protocol"] for one in found["papers"] if not one["unavailable"]]
    echo(f"Papers' protocols: {', '.join(papers) or 'none'}")
    alike: dict[str, list[str]] = {}
    for method, recipes in found["methods"].items():
        alike.setdefault(", ".join(recipes), []).append(method)
    for recipes, methods in alike.items():
        echo(f"Recipes {recipes}: {', '.join(methods)}")
    echo("")
    data = [(one["source"], one["split"], _count(one["examples"]), _origin(one["origin"])) for one in found["data"]]
    show_table("Data", ("Source", "Split", "Examples", "Where"), data, numeric=(False, False, True, False))
    _table("Metrics, the headline first", ("Metric", "Meaning"), [_explained(one) for one in found["metrics"]])
    _table("Rewards, by profile", ("Profile", "Meaning"), [_explained(one) for one in found["rewards"]])
    rows = [(name, *map(str, sizes.values())) for name, sizes in found["protocols"].items()]
    if rows:
        heads, numeric = ("Protocol", "Tokens", "Block", "Steps", "Items"), (False, True, True, True, True)
        show_table("How its protocol evaluates", heads, rows, numeric=numeric)
    _show_prompt(found)


def _explained(named: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(text or "-" for text in named.values())


def _count(examples: int | None) -> str:
    return "-" if examples is None else f"{examples:,}"


def _origin(origin: Mapping[str, Any]) -> str:
    """A file, or a data set with its configuration, split and commit."""
    known = {name: value for name, value in origin.items() if value is not None}
    return ", ".join(str(value) if name == "file" else f"{name} {value}" for name, value in known.items()) or "-"


def _show_prompt(found: Record) -> None:
    prompt = found["prompt"]
    if prompt is None:
        echo("There are no built-in problems to show a prompt of.")
    else:
        for message in prompt["messages"]:
            _text(f"Prompt, {message['role']}", message["content"])
        if prompt["worked_answer"]:
            _text("Its answer, as --few-shot shows it", prompt["worked_answer"])
        _text("Prompt of the tiny model", prompt["tiny"])
    echo(f"--prompts FILE takes: {', '.join(f'{{{name}}}' for name in found['placeholders'])}")


def _text(title: str, text: str) -> None:
    echo(f"{title}:\n{textwrap.indent(text.rstrip(), '  ')}\n")


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
    "task": _show_task,
    "run": _show_run,
}
