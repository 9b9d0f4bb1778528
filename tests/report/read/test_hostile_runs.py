"""Run folders damaged on purpose: each is left out with its reason, and the sound run beside it is reported."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import read_runs
from harness.cli.list import list_runs
from harness.cli.report import report
from harness.records.run_folder import CONFIG_FILE, ENVIRONMENT_FILE, EVAL_FILE, METRICS_FILE, STATUS_FILE, TRACE_FILE
from harness.report.read.runs import Run, Skipped, scan

Damage = Callable[[Path], object]
HUGE = 10**400
LONG = "x" * 300
BOMB = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10))


def config(**changes: Any) -> Damage:
    """Changes parts of config.yaml: identity__seed=1 that of the identity."""

    def change(folder: Path) -> None:
        tree = yaml.safe_load((folder / CONFIG_FILE).read_text())
        for key, value in changes.items():
            *path, leaf = key.split("__")
            place = tree
            for name in path:
                place = place[name]
            place[leaf] = value
        (folder / CONFIG_FILE).write_text(yaml.safe_dump(tree))

    return change


def appended(text: str) -> Damage:
    """Adds a line to config.yaml."""
    return lambda folder: (folder / CONFIG_FILE).write_text((folder / CONFIG_FILE).read_text() + text)


def line(name: str, **changes: Any) -> Damage:
    """Changes every record of a file of JSON lines."""

    def change(folder: Path) -> None:
        lines = [{**json.loads(text), **changes} for text in (folder / name).read_text().splitlines()]
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in lines))

    return change


def content(name: str, data: bytes | str) -> Damage:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    """Puts something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


def sparse(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.truncate(1 << 40)


def listen(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has at most 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def totals(**changes: Any) -> Damage:
    whole = {"n": 4, "part": 2, "whole": 4, "part_squared": 2, "whole_squared": 4, "part_times_whole": 2}
    return line(EVAL_FILE, metrics={"exact_match": {**whole, "is_proportion": False, **changes}})


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


FILES = (CONFIG_FILE, STATUS_FILE, EVAL_FILE, METRICS_FILE)
SPECIAL = {
    **{f"FIFO as {name}": (instead(name, os.mkfifo), f"{name} is not a regular file") for name in FILES},
    **{
        f"device as {name}": (instead(name, lambda path: path.symlink_to("/dev/zero")), "is not a regular file")
        for name in FILES
    },
    **{
        f"dangling link as {name}": (instead(name, lambda path: path.symlink_to("nothing")), f"{name} is a link to")
        for name in FILES
    },
    **{f"folder as {name}": (instead(name, Path.mkdir), "cannot be read: Is a directory") for name in FILES},
    **{f"terabyte as {name}": (instead(name, sparse), f"{name} ") for name in FILES},
    "socket": (instead(EVAL_FILE, listen), "eval.jsonl is not a regular file"),
    "link to itself": (instead(CONFIG_FILE, lambda path: path.symlink_to(path.name)), "config.yaml is a link to"),
}
NAMES = {
    **{
        f"long {name}": (config(**{f"identity__{name}": LONG}), f"identity.{name}='xxx")
        for name in ("task", "method", "model", "recipe", "reward", "config_hash", "test_data")
    },
    "method with a line end": (config(identity__method="d1\nd2"), r"identity.method='d1\nd2'"),
    "task with an escape": (config(identity__task="\x1b[31msudoku"), r"identity.task='\x1b[31msudoku'"),
    "reward with NUL": (config(identity__reward="a\0b"), r"identity.reward='a\x00b'"),
    "long metric": (line(EVAL_FILE, metrics={LONG: {"n": 1}}), "evaluation record is incomplete"),
    "long split": (line(EVAL_FILE, split=LONG), "values of a wrong kind"),
    "long samples file": (line(EVAL_FILE, samples_file=LONG), "values of a wrong kind"),
    "number as samples file": (line(EVAL_FILE, samples_file=7), "values of a wrong kind"),
    "list as samples file": (line(EVAL_FILE, samples_file=["a"]), "values of a wrong kind"),
    "long decoding": (line(EVAL_FILE, decoding={"note": "x" * 20_000}), "values of a wrong kind"),
    "NUL in samples file": (line(EVAL_FILE, samples_file="a\0b"), "values of a wrong kind"),
}
BOMBS = {
    "billion laughs": (appended(f"a0: &a0 [lol]\n{BOMB}"), "unfold to more than 100,000 values"),
    "laughs in the settings": (content(CONFIG_FILE, f"a0: &a0 [lol]\n{BOMB}"), "unfold to more than 100,000 values"),
    "alias of itself": (appended("loop: &loop [*loop]\n"), "unfold to more than 100,000 values"),
    "mapping in itself": (appended("loop: &loop {a: *loop}\n"), "unfold to more than 100,000 values"),
    "merge keys": (appended(f"m0: &m0 {{a: {list(range(99))}}}\n" + "m: [" + "*m0, " * 2000 + "]\n"), "unfold to more"),
    "66 KB of values": (appended(f"many: [{'1,' * 33_000}]\n"), "at most 65,536 are read"),
    "megabyte of YAML": (appended(f"# {'x' * 1_000_000}\n"), "config.yaml has 1,00"),
    "unpacks to 2 GiB of lines": (
        lambda folder: (
            (folder / METRICS_FILE).unlink(),
            (folder / f"{METRICS_FILE}.gz").write_bytes(gzip.compress(b"\n" * (1 << 21), 1) * 1024),
        ),
        "metrics.jsonl.gz has more than 1 GiB or 1,000,000 lines",
    ),
    "unpacks to one long line": (
        lambda folder: (
            (folder / EVAL_FILE).unlink(),
            (folder / f"{EVAL_FILE}.gz").write_bytes(gzip.compress(b" " * (20 << 20))),
        ),
        "eval.jsonl.gz line 1 is longer than 16 MiB",
    ),
    "10,001 evaluations": (
        lambda folder: (folder / EVAL_FILE).write_text((folder / EVAL_FILE).read_text().splitlines(True)[0] * 10_001),
        "eval.jsonl has more than 10,000 records",
    ),
    "65 metrics": (
        line(EVAL_FILE, metrics={f"m{number}": {} for number in range(65)}),
        "evaluation record is incomplete",
    ),
}
DEEP = {
    "deep YAML": (appended(f"deep: {'[' * 900}{']' * 900}\n"), "nested more than 50 levels deep"),
    "YAML of 60 levels": (appended(f"deep: {'[' * 60}{']' * 60}\n"), "nested more than 50 levels deep"),
    "60 levels through aliases": (
        appended("l0: &l0 [1]\n" + "".join(f"l{n}: &l{n} [*l{n - 1}]\n" for n in range(1, 60))),
        "nested more than 50 levels deep",
    ),
    "deep decoding": (line(EVAL_FILE, decoding=nested(300)), "nested too deeply"),
    "deep update": (line(METRICS_FILE, values=nested(300)), "nested too deeply"),
    "deep lists in an update": (content(METRICS_FILE, f'{{"a": {"[" * 400}{"]" * 400}}}\n'), "nested too deeply"),
    "deep status": (content(STATUS_FILE, "[" * 30_000), "nested too deeply"),
    "environment that is not JSON": (content(ENVIRONMENT_FILE, "prompts: ours"), "environment.json is not JSON"),
    "deep environment": (content(ENVIRONMENT_FILE, "[" * 30_000), "nested too deeply"),
}
NUMBERS = {
    "huge seed": (config(identity__seed=10**60), "identity.seed=1000"),
    "huge hexadecimal schema": (appended(f"schema: 0x{'f' * 5000}\n"), "a number of 5,002 characters"),
    "endless base 60": (appended(f"time: {'1:' * 30_000}1\n"), "a number of 60,001 characters"),
    "seed of 5,000 digits": (appended(f"big: {'9' * 5000}\n"), "a number of 5,000 characters"),
    "infinite updates": (content(STATUS_FILE, '{"schema": 1, "state": "finished", "updates": Infinity}'), "damaged"),
    "updates that are no number": (
        content(STATUS_FILE, '{"schema": 1, "state": "finished", "updates": NaN, "samples": 1}'),
        "status.json has state 'finished' and updates nan",
    ),
    "huge updates": (
        content(STATUS_FILE, f'{{"schema": 1, "state": "finished", "updates": {HUGE}, "samples": 1}}'),
        "status.json has state 'finished' and updates 1000",
    ),
    **{
        f"{name} of {value}"[:40]: (line(EVAL_FILE, **{name: value}), "values of a wrong kind")
        for name, value in (
            ("update", HUGE),
            ("batch_size", [64]),
            ("prompts", "ours"),
            ("protocol", 7),
            ("dtype", {"name": "float32"}),
            ("samples", 10**30),
            ("flops_total", 1e200),
            ("flops_forward", float("inf")),
            ("seconds", -1.0),
            ("nfe", float("nan")),
            ("nfe", "8"),
            ("nfe", None),
            ("ceiling", {"exact_match": 1.5}),
            ("ceiling", {"exact_match": -0.5}),
        )
    },
    "infinite sum": (totals(part=float("inf")), "impossible totals"),
    "huge sum": (totals(part_squared=1e200), "impossible totals"),
    "negative items": (totals(whole=-4), "impossible totals"),
    "value that is out of all proportion": (totals(part=1e50, whole=1e-50), "impossible totals"),
}
TEXTS = {
    "surrogate in YAML": (appended('half: "\\ud83d"\n'), "half a surrogate pair"),
    "surrogate as a key": (appended('"\\udc00": 1\n'), "half a surrogate pair"),
    "surrogate in an evaluation": (content(EVAL_FILE, '{"schema": 1, "data": "\\ud83d"}\n'), "half a surrogate pair"),
    "surrogate in an update": (content(METRICS_FILE, '{"update": 1, "\\udfff": 2}\n'), "half a surrogate pair"),
    "dates as names": (appended("days: [{2020-01-01: 1}]\n"), "names that are not texts"),
    "numbers beside texts as names": (appended("mixed: {1: a, b: c}\n"), "names that are not texts"),
    "reason that is a list": (
        content(STATUS_FILE, '{"schema": 1, "state": "failed", "updates": 1, "samples": 1, "reason": [1]}'),
        "status.json has state 'failed'",
    ),
    "surrogate in the status": (
        content(STATUS_FILE, '{"schema": 1, "state": "\\ud800", "updates": 1, "samples": 1}'),
        r"state '\ud800'",
    ),
    "failed for reasons with escapes": (
        content(
            STATUS_FILE,
            json.dumps(
                {"schema": 1, "state": "failed", "updates": 1, "samples": 1, "reason": "\ud800\x1b[2J\n" + "y" * 999}
            ),
        ),
        r"unfinished (failed: \ud800\x1b[2J\nyyy",
    ),
}
CASES: Mapping[str, tuple[Damage, str]] = {**SPECIAL, **NAMES, **BOMBS, **DEEP, **NUMBERS, **TEXTS}


def damaged(synthetic: Any) -> dict[str, str]:
    """A sound run, and a folder for every case. Returns the path of each with the reason that is expected."""
    synthetic.run(seed=0)
    expected = {}
    for number, (damage, reason) in enumerate(CASES.values()):
        folder = synthetic.run(config_hash=f"{number:08x}")
        damage(folder)
        expected[folder.relative_to(synthetic.root).as_posix()] = reason
    return expected


@pytest.mark.slow
def test_every_damaged_folder_is_named_once_and_the_sound_run_is_reported(
    synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = damaged(synthetic)
    frames = read_runs(synthetic.root)
    unread = dict(zip(frames.skipped["path"], frames.skipped["reason"], strict=True))
    failed = [path for path, reason in expected.items() if reason.startswith("unfinished")]
    wrong = {
        name: unread.get(path)
        for name, (path, reason) in zip(CASES, expected.items(), strict=True)
        if path not in failed and reason not in unread.get(path, "")
    }
    assert wrong == {}
    assert sorted(unread) == sorted(set(expected) - set(failed))
    assert max(map(len, unread.values())) <= 300
    report([synthetic.root], Path("out"))
    assert f"Left out: {len(CASES)}; the reasons" in capsys.readouterr().out
    text = Path("out/report.md").read_text()
    assert text.startswith("# Report: Sudoku\n\nFinished runs: 1; left out: ")
    assert all(text.count(f"| {path} |") == 1 for path in expected)
    list_runs([synthetic.root])
    assert "0a1b2c3d-seed0  finished" in capsys.readouterr().out
    assert len(frames.runs) == 1 + len(failed)


FORMULA = "=HYPERLINK('https://evil.example')"
MARKUP = "</td><script>alert(1)</script>$\\frac{"
ODD_SETTINGS = {
    "infinity": float("inf"),
    "formula": FORMULA,
    "lines": "a\n```\nb\x1b[31m",
    "many": ["a\nb", {"c": "d\ne"}],
    "long": "y" * 50_000,
    "markup": MARKUP,
    "number": 10**60,
}


def odd_runs(synthetic: Any) -> None:
    """Runs that are unlike any that the harness writes, but can be reported."""
    odd: dict[str, dict[str, Any]] = {
        "formula": {"method": FORMULA, "task": "@SUM(1)", "model": "+1+cmd|' /C calc'!A0", "recipe": "-2+3"},
        "markup": {"method": MARKUP, "task": MARKUP, "reward": MARKUP},
        "long": {"method": "m" * 255, "task": "t" * 255, "model": "数" * 85},
        "dots": {"method": "..", "task": ".", "model": "/etc/passwd", "recipe": "../../x"},
        "blank": {"method": " ", "task": " ", "config_hash": " ", "test_data": " "},
        "seed": {"seed": 2**62, "config_hash": "1"},
    }
    for number, identity in enumerate(odd.values()):
        folder = synthetic.run()
        config(**{f"identity__{name}": value for name, value in identity.items()})(folder)
        folder.rename(synthetic.root / f"odd-{number}")
    # Two of one name, so that their settings become the name of the second.
    synthetic.run()
    settings = {**synthetic.settings, "method": {**synthetic.settings["method"], **ODD_SETTINGS}}
    settings["data"] = {**settings["data"], "prompts": 7, "few_shot": [1], "train": FORMULA}
    folder = synthetic.run(config_hash="ffffffff", settings=settings, provenance={"method.many": "command line"})
    (folder / TRACE_FILE).mkdir()
    line(METRICS_FILE, reward_mean=1e99, kl=HUGE, gradient_norm=-1e99, chosen_steps=[HUGE], step_entropy=[1e308])(
        folder
    )
    for number, changes in enumerate(({"part": 1e3, "whole": 1e-3}, {"n": 2**62}, {"part": -3.0, "part_squared": 0})):
        totals(**changes)(synthetic.run(config_hash=f"0000000{number}"))
    (synthetic.root / "not UTF-8 \udcff \x1b[31m\n").mkdir()
    (synthetic.root / "not UTF-8 \udcff \x1b[31m\n" / CONFIG_FILE).write_text("{")


@pytest.mark.slow
def test_runs_that_are_odd_in_every_way_are_reported(
    synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    odd_runs(synthetic)
    found = scan([synthetic.root])
    assert [item.path for item in found if isinstance(item, Skipped)] == [r"not UTF-8 \udcff \x1b[31m\n"]
    report([synthetic.root], Path("out"))
    list_runs([synthetic.root])
    frames = read_runs(synthetic.root)
    assert len(frames.runs) == sum(isinstance(item, Run) for item in found) == 11
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "<script>alert" not in Path("out/report.html").read_text()
    for path in Path("out").rglob("*"):
        assert path.is_dir() or not path.read_bytes() or path.suffix in (".png", ".pdf") or path.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": (), "unmask_step": (), "entropy": (), "greedy": (), "chosen_steps": ()},
        {"num_steps": 0, "unmask_step": (0, 0, 0, 0), "chosen_steps": (), "greedy": ()},
        {"num_steps": 10**6},
        {"num_steps": HUGE},
        {"chosen_steps": (2,)},
        {"reward": float("inf")},
        {"reward": HUGE},
        {"entropy": (0.0, 0.0, 1e300, float("-inf"))},
        {"iteration": "first"},
        {"update": None},
        {"prompt": ["a"]},
        {"tokens": ("x",) * 9000, "unmask_step": (0,) * 9000, "entropy": (0.0,) * 9000, "greedy": ()},
    ],
    ids=range(12),
)
def test_a_completion_that_cannot_be_drawn_costs_its_picture_alone(
    synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic.run(traces=[synthetic.trace(**changes)], records=synthetic.learning(40, 160)[-1:], lines=[])
    report([synthetic.root], Path("out"))
    assert "traces.jsonl | no picture of a completion: " in Path("out/report.md").read_text()


def test_a_thousand_completions_are_not_drawn(synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic.run(traces=[synthetic.trace()] * 1000, records=synthetic.learning(40, 160)[-1:], lines=[])
    report([synthetic.root], Path("out"))
    assert "no picture of a completion: it has more than 128 completions" in Path("out/report.md").read_text()
