"""A folder in which a page's commands can be executed: stand-ins for what they name, short forms of what is long."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness.cli.main import main

from .pages import CHECKOUT, Command, blocks

PUBLISHED_NAME = re.compile(r"\S+/(?:\.\.\.|[0-9a-f]{8}-seed\d+)")
"""A run folder as pages name it."""
REFERENCE, STUDY = "results/reference/sudoku/egspo-sa", "results/study/sudoku/egspo-sa"
"""Runs that stand for those of our study, which are many, and where a command finds them."""
STAND_INS = {
    "T": "sudoku",
    "KEY": "optimizer.learning_rate",
    "RECIPE": "egspo-sa:paper",
    "FILE": "completions.jsonl",
    "pretrained=MODEL": "pretrained=tiny,tiny_task=gsm8k",
    "DATA": "builtin",
    "RUNS": "results/runs",
}
SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 4, "evaluation.every": 0}
CONVENTIONS, ROWS = "conventions.", {"train.batch_size": 64}
"""Settings of rows that belong together, and a batch that they divide."""
SHORT = {
    "run": {"--budget": "updates=1", "--jobs": "1"},
    "eval": {"--items": "2"},
    "compare": {"--items": "2"},
    "bench": {"--shape": "tiny", "--batch": "2", "--runs": "1", "--device": "cpu"},
    "diagnose": {"--policies": "1"},
    "reproduce": {"--dry-run": ""},
    "sft": {"--steps": "2", "--batch-size": "4"},
    "lm-eval": {"--limit": "2"},
}
"""Subcommand to the options that make it short, in the place of what a page gives. A whole paper is planned alone; a
small one is made in tests/app/test_reproduce.py."""
SMALL_SCRIPT = {"bench/memory.py": ["--shape", "dream-192", "--method", "d1"]}
LONGEST = 2
"""Of the values in a list that makes a grid."""
ITEMS = [{"prompt": "What is 2 + 3?", "completion": f"<answer>{number}</answer>", "target": "5"} for number in (5, 6)]
"""Completions for `harness grade`."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """run: a finished run below the folder; server: the address of a server that answers."""

    run: str
    server: str = ""

    def words(self, command: Command, *, is_short: bool = True) -> list[str]:
        """The words after `harness` that are executed in the place of the command's."""
        name, *given = command.harness
        words = [self._stand_in(option, word) for option, word in zip((name, *given), given, strict=False)]
        words += ["--task", "sudoku"] if name == "run" and "--task" not in words else []
        words += ["--data", "builtin"] if "--server" in words and "--data" not in words else []
        if is_short:
            words = [_cut(option, word) for option, word in zip((name, *words), words, strict=False)]
            words = _with(words, {} if words[:1] == ["ls"] else SHORT.get(name, {}))
            words += _settings(words) if name == "run" else []
        return [name, *words]

    def script(self, command: Command) -> list[str]:
        """The arguments of the process for a script or a module."""
        given = list(command.launcher[1:])
        return given if given[0] == "-m" else [str(CHECKOUT / given[0]), *given[1:], *SMALL_SCRIPT.get(given[0], [])]

    def _stand_in(self, option: str, word: str) -> str:
        if option == "--server":
            return self.server
        if (option, word) == ("report", "DIR"):
            word = "RUNS"
        return self.run if word == "RUN" or PUBLISHED_NAME.fullmatch(word) else STAND_INS.get(word, word)


def _cut(option: str, word: str) -> str:
    return ",".join(word.split(",")[:LONGEST]) if option in ("--seed", "--set", "--method", "--task") else word


def _with(words: list[str], options: Mapping[str, str]) -> list[str]:
    """The words with options in the place of those of the same names. options: to their values, empty for a switch."""
    valued = {option for option, value in options.items() if value}
    kept = [
        word for before, word in zip(("", *words), words, strict=False) if word not in options and before not in valued
    ]
    return [*kept, *(word for pair in options.items() for word in pair if word)]


def _settings(words: list[str]) -> list[str]:
    """Those of a small run."""
    small = SMALL | (ROWS if any(word.startswith(CONVENTIONS) for word in words) else {})
    return [f"--set={key}={value}" for key, value in small.items()]


def furnish() -> None:
    """Puts what the pages name besides runs into the folder: completions, recipes, lm-eval's YAML with rows, runs in
    the place of our study's."""
    Path("completions.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    yaml = next(block.text for block in blocks("lm-eval.md") if block.kind == "yaml")
    package = find_spec("lm_eval")
    assert package is not None
    for name, text in {
        "local/gsm8k_local.yaml": yaml.replace(".../lm_eval", str(Path(str(package.origin)).parent)),
        "DATA/gsm8k/train.jsonl": '{"question": "What is 1 + 1?", "answer": "1 + 1 = 2.\\n#### 2"}\n' * 8,
        "DATA/gsm8k/test.jsonl": '{"question": "What is 2 + 3?", "answer": "2 + 3 = 5.\\n#### 5"}\n' * 2,
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("docs").mkdir()
    shutil.copytree(CHECKOUT / REFERENCE, STUDY)
    for name in ("own.yaml", "FILE.yaml"):
        Path(name).write_text("extends: egspo-sa/sudoku:tiny\nbudget: {updates: 2}\n")


def train() -> str:
    """Makes a short run in the folder; its place."""
    assert main(["run", "--method", "egspo-sa", "--task", "sudoku", *_with([], SHORT["run"]), *_settings([])]) == 0
    (place,) = (path.parent for path in Path("results/runs").rglob("status.json"))
    return str(place)
