"""harness data: fill a folder of data files, check one, or list what data is available."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.cli.options.lists import any_names
from harness.cli.options.shared import IncludePath
from harness.cli.terminal.feedback import echo, say
from harness.data.sources import DATA_VARIABLE, DataSource
from harness.errors import UserError, unknown_choice
from harness.task.base import SPLITS

if TYPE_CHECKING:
    from harness.app.data_folder import Finding

ACTIONS = ("pull", "verify", "list", "prompts")
SOMETHING_WRONG = 1
SHOWN_DIGITS = 16


def data(
    action: Annotated[str, typer.Argument(help="pull, verify, list or prompts.")],
    folder: Annotated[
        Path | None, typer.Argument(help="With verify and list: the folder; HARNESS_DATA by default.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="With pull: the folder to fill.")] = None,
    task: Annotated[str, typer.Option(help="With pull and prompts: task, or several; all by default.")] = "",
    checkpoints: Annotated[
        str,
        typer.Option(help="With pull: published checkpoints instead of data; see harness list checkpoints."),
    ] = "",
    protocol: Annotated[str, typer.Option(help="With prompts: whose they are; see harness list protocols.")] = "",
    clone: Annotated[Path | None, typer.Option("--from", help="With prompts: a clone of their repository.")] = None,
    out: Annotated[Path | None, typer.Option(help="With prompts: the file to write.")] = None,
    include_path: IncludePath = None,
) -> int:
    """Data files: pull --to DIR fetches them, verify DIR checks them, list shows what is available.

    prompts --protocol d1 --from CLONE --out FILE reads a paper's prompts in a clone of its authors' repository.

    Exit code 1: a file could not be fetched, or is missing, changed or unreadable; a text is not the published one.
    """
    registry.add_include_paths(include_path or [])
    if action not in ACTIONS:
        raise unknown_choice("action", action, ACTIONS)
    given = {"--to": to, "--task": task, "--checkpoints": checkpoints}
    given |= {"--protocol": protocol, "--from": clone, "--out": out, "a folder": folder}
    _check_options(action, [name for name, value in given.items() if value])
    if action == "pull":
        assert to is not None
        return _pull_checkpoints(to, checkpoints) if checkpoints else _pull(to, task)
    if action == "prompts":
        assert clone is not None
        assert out is not None
        return _prompts(protocol, clone, out, task)
    return _verify(_existing(folder)) if action == "verify" else _list(folder)


def _check_options(action: str, given: list[str]) -> None:
    """Raises UserError where an action lacks an option, or has one of another action."""
    needed = {"pull": ["--to"], "prompts": ["--protocol", "--from", "--out"]}.get(action, [])
    allowed = {"pull": ["--task", "--checkpoints"], "prompts": ["--task"]}.get(action, ["a folder"])
    wrong = [name for name in given if name not in needed + allowed]
    if wrong:
        raise UserError(f"harness data {action} does not take {wrong[0]}; it takes: {', '.join(needed + allowed)}.")
    missing = [name for name in needed if name not in given]
    if missing:
        raise UserError(f"harness data {action} needs {missing[0]}; it takes: {', '.join(needed + allowed)}.")
    if {"--task", "--checkpoints"} <= set(given):
        raise UserError("--checkpoints names checkpoints of single tasks already; leave --task out.")


def _pull(folder: Path, names: str) -> int:
    from harness.app.data_folder import FILES, fill

    wanted = set(_tasks(names))
    files = [file for file in FILES if not wanted or wanted & set(file.tasks)]
    failed = [finding for finding in fill(folder, files) if _say(finding)]
    if not failed:
        echo(f"{len(files)} files in {folder}; use them with --data {folder} or {DATA_VARIABLE}={folder}.")
        return 0
    echo(
        f"{len(failed)} of {len(files)} files are missing: {', '.join(finding.file.path for finding in failed)}. "
        "The others are kept; run the same command again to retry.",
        err=True,
    )
    return SOMETHING_WRONG


def _pull_checkpoints(home: Path, names: str) -> int:
    from harness.app.checkpoints import published_checkpoint, pull

    wanted = [published_checkpoint(name) for name in any_names(names)]
    for done in pull(wanted, home):
        echo(f"ok    {done.name:<24} {done.place}{f' on {done.base}' if done.adapter else ''}")
    echo(f"{len(wanted)} checkpoints in {home}; use them with HF_HOME={home} HF_HUB_OFFLINE=1.")
    return 0


def _prompts(name: str, clone: Path, out: Path, tasks: str) -> int:
    from harness.app.published_prompts import read_published_prompts, write_published_prompts
    from harness.config.published.protocols import load_protocol

    protocol = load_protocol(name)
    found = read_published_prompts(protocol, clone, _tasks(tasks))
    write_published_prompts(protocol, found, out)
    for one in found:
        if one.changed:
            said = f"CHANGED     {', '.join(one.changed)}: not the text of commit {protocol.commit}"
        elif one.verified:
            said = f"published   {', '.join(one.verified)}"
        else:
            said = "unverified  no constant of it has a published sha256"
        echo(f"{one.task:<10} {said}")
    echo(f"Prompts of {len(found)} tasks in {out}; use them with --prompts {out}.")
    return SOMETHING_WRONG if any(one.changed for one in found) else 0


def _tasks(names: str) -> list[str]:
    return [registry.canonical_name("task", name) for name in any_names(names)]


def _verify(folder: Path) -> int:
    from harness.app.data_folder import check

    wrong = [finding for finding in check(folder) if _say(finding)]
    if not wrong:
        echo(f"{folder}: no problems found.")
        return 0
    echo(f"{len(wrong)} files are wrong or missing; harness data pull --to {folder} fetches them.", err=True)
    return SOMETHING_WRONG


def _say(finding: Finding) -> bool:
    """Shows a finding and returns whether it is a problem."""
    state = "WRONG" if finding.problem else "ok"
    (echo if finding.problem else say)(f"{state:<5} {finding.file.path:<36} {finding.problem or finding.note}")
    return bool(finding.problem)


def _list(folder: Path | None) -> int:
    from harness.app.data_folder import listed
    from harness.cli.terminal.tables import show_table

    sources = [DataSource(kind="builtin")]
    if folder is not None or os.environ.get(DATA_VARIABLE):
        sources.append(DataSource(kind="dir", folder=_existing(folder)))
    for source in sources:
        rows = [
            [row.task, row.split, row.place, f"{row.items:,}", row.sha256[:SHOWN_DIGITS]]
            for row in listed(registry.names("task"), SPLITS, source)
        ]
        title = "Built in" if source.folder is None else str(source.folder)
        columns = ["Task", "Split", "Source", "Items", "sha256"]
        show_table(title, columns, rows, numeric=[False, False, False, True, False])
    return 0


def _existing(folder: Path | None) -> Path:
    named = folder or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        raise UserError(f"Name a folder, or set {DATA_VARIABLE}; harness data pull --to DIR fills one.")
    if not named.expanduser().is_dir():
        raise UserError(f"'{named}' is not a folder; harness data pull --to DIR fills one.")
    return named.expanduser()
