"""Prompts read from the authors' repositories: on stand-in sources of our own, and on real clones where they are.

HARNESS_CLONES is a folder of clones under the names that `git clone` gives them: d1, egspo-dllm-rl, wd1, SPG, ESPO,
agrpo, JustGRPO, LLaDA.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.app.published_prompts import read_published_prompts
from harness.cli.main import main
from harness.config.published.prompt_hashes import PromptHash, check_prompts, constant_hashes, prompt_hashes, sha256
from harness.config.published.protocols import load_protocol, protocol_names
from harness.data.python_text import read_text
from harness.data.sources import DataSource
from harness.task.base import Example, Message, TaskOptions
from harness.task.messages import split_prefill
from harness.task.prompts import PHASES, read_prompts, set_prompts
from harness.task.template import Prompting, fill

STAND_IN = {
    "eval/gsm8k.py": 'import torch\nGSM_SYSTEM_PROMPT = """Ask for a \\\\boxed{}. \n"""\n',
    "eval/math500.py": 'MATH500_SYSTEM_PROMPT = "M {x}"\n',
    "eval/countdown.py": 'CTD_SYSTEM_PROMPT = ("C" + "{}" + "d")\n',
    "eval/sudoku.py": (
        'SUDOKU_SYSTEM_PROMPT = "\\nS\\n"\n'
        'class SudokuDataset:\n    def __getitem__(self, i):\n        question = f"Fill {puzzle} in\\n"\n'
    ),
    "diffu-grpo/data_utils.py": (
        'SYSTEM_PROMPT = "\\nT\\n"\n'
        'def get_gsm8k_questions():\n    return {"content": SYSTEM_PROMPT + "\\n\\n" + x["question"]}\n'
        'def get_math_questions():\n    return {"content": f"{SYSTEM_PROMPT} \\\\boxed{{}} {x[\'problem\']}"}\n'
        "def get_countdown_questions():\n    return {\"content\": f\"{x['nums']} to {x['target']}\"}\n"
        'def get_sudoku_questions():\n    return {"content": f"Train {x[\'Puzzle\']}"}\n'
    ),
}
TEXTS_OF_TASKS = {"mbpp": ("mbpp-full-11",), "code": ("mbpp-11",)}
"""Hashed texts that no prompts file of ours can show: the full MBPP, and training on AceCode."""


@pytest.fixture
def clone(tmp_path) -> Path:
    for name, text in STAND_IN.items():
        (tmp_path / "d1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d1" / name).write_text(text)
    return tmp_path / "d1"


def prompts(*arguments) -> int:
    return main(["data", "prompts", *(str(argument) for argument in arguments)])


def test_a_prompts_file_holds_the_authors_texts_for_evaluation_and_training(clone, tmp_path, capsys):
    out = tmp_path / "prompts.yaml"
    assert prompts("--protocol", "d1", "--from", clone, "--out", out) == 1
    assert (
        "gsm8k      CHANGED     eval/gsm8k.py: GSM_SYSTEM_PROMPT: not the text of commit 837888f"
        in capsys.readouterr().out
    )
    file = read_prompts(out, registry.names("task"))
    assert sorted(file.templates) == ["countdown", "gsm8k", "math500", "sudoku"]
    asked = {name: messages[0]["content"] for name, messages in file.templates["gsm8k"].items()}
    assert asked == {"evaluation": "Ask for a \\boxed{}. \n\n\n{question}", "training": "\nT\n\n\n{question}"}
    assert file.templates["gsm8k"]["evaluation"][1] == {"role": "assistant", "content": "<reasoning>"}
    assert len(file.templates["gsm8k"]["training"]) == 1
    assert file.templates["math500"]["evaluation"][0]["content"] == "M {{x}}\n\n{question}"
    assert file.templates["math500"]["training"][0]["content"] == "\nT\n \\boxed{} {question}"
    assert file.templates["countdown"]["training"][0]["content"] == "{numbers} to {target}"
    assert file.templates["sudoku"]["evaluation"][0]["content"] == "\nS\n\n\nFill {puzzle} in\n"


def test_the_prompts_of_the_file_are_shown_and_are_not_said_to_be_published(clone, tmp_path):
    out = tmp_path / "new" / "p.yaml"
    prompts("--protocol", "d1", "--from", clone, "--out", out, "--task", "sudoku")
    task = registry.get_task("sudoku")(TaskOptions())
    example = Example(id="d1-test-000", question="0" * 16, target={"puzzle": "0" * 16})
    (training,) = set_prompts(task, read_prompts(out, ["sudoku"]), [example], 0)
    assert task.messages(training) == [{"role": "user", "content": f"Train {'0' * 16}"}]
    assert [message["role"] for message in task.messages(example)] == ["user", "assistant"]
    assert check_prompts("d1", task, [example], lambda task, one: str(task.messages(one))).state == "ours"


def test_no_constant_to_compare_is_said(tmp_path, capsys):
    (tmp_path / "clone").mkdir()
    arguments = ("--from", tmp_path / "clone", "--out", tmp_path / "p.yaml", "--task", "gsm8k")
    assert prompts("--protocol", "justgrpo", *arguments) == 0
    assert "gsm8k      unverified  no constant of it has a published sha256" in capsys.readouterr().out
    file = read_prompts(tmp_path / "p.yaml", ["gsm8k"])
    assert file.templates["gsm8k"]["training"] == ({"role": "user", "content": "{question}"},)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--protocol", "egsp"), "Unknown protocol 'egsp'. Did you mean 'egspo'"),
        (("--protocol", "d1", "--from", "nowhere"), "clone https://github.com/dllm-reasoning/d1 and name the clone"),
        (("--protocol", "d1", "--task", "mbpp"), "has no prompts for mbpp; it has some for: gsm8k, math500"),
        (("--protocol", "espo"), "eval/data_utils.py' cannot be read: No such file"),
        (("--protocol", "egspo", "--task", "gsm8k"), "egspo/data_utils.py' cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(clone, tmp_path, capsys, options, said):
    given = options if "--from" in options else (*options, "--from", clone)
    assert prompts(*given, "--out", tmp_path / "p.yaml") == 2
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert said in captured
    assert not (tmp_path / "p.yaml").exists()


# Real clones


def clone_of(name: str) -> Path:
    """The clone of a protocol's repository; skips where there is none."""
    folder = os.environ.get("HARNESS_CLONES")
    repository = load_protocol(name).repository
    path = Path(folder or "") / repository.rpartition("/")[2]
    if not folder or not path.is_dir():
        pytest.skip(f"no clone of {repository}; set HARNESS_CLONES to a folder of clones")
    return path


def in_llada_s_template(messages: list[Message]) -> str:
    """What LLaDA's chat template makes of messages."""
    turns = [
        f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n{message['content'].strip()}<|eot_id|>"
        for message in messages
    ]
    return f"<|startoftext|>{''.join(turns)}<|start_header_id|>assistant<|end_header_id|>\n\n"


def parts(messages: list[Message]) -> dict[str, str]:
    """The texts of a prompt as the table of hashes calls them."""
    asked, prefill = split_prefill(messages)
    rendered = in_llada_s_template(asked)
    found = {"rendered": rendered, "prefill": prefill, "model-input": rendered + prefill}
    for number, message in enumerate(asked):
        found |= {message["role"]: message["content"], f"message{number}-{message['role']}": message["content"]}
    return found


def examples_of(task: str, data: Path, clone: Path) -> dict[str, Example]:
    chosen, source = registry.get_task(task)(TaskOptions()), DataSource(kind="dir", folder=data)
    examples = chosen.examples("test", source)
    if task == "gsm8k":
        examples += chosen.examples("train", source)
    split = next(clone.rglob("test_sudoku_split_new.csv"), None)
    if task == "sudoku" and split is not None:
        examples += sys.modules[type(chosen).__module__].read_file(split, "test")
    return {example.id: example for example in examples}


def can_be_shown(one: PromptHash) -> bool:
    return bool(one.item) and one.item not in TEXTS_OF_TASKS.get(one.task, ())


@pytest.mark.parametrize("name", protocol_names())
def test_every_text_that_a_prompts_file_can_show_has_the_published_hash(name, data_folder, tmp_path):
    clone = clone_of(name)
    assert prompts("--protocol", name, "--from", clone, "--out", tmp_path / "p.yaml") == 0
    file = read_prompts(tmp_path / "p.yaml", registry.names("task"))
    table = [one for one in prompt_hashes() if one.protocol == name and can_be_shown(one)]
    assert table
    for one in table:
        task = registry.get_task(one.task)(TaskOptions())
        example = examples_of(one.task, data_folder, clone)[one.item]
        for phase in PHASES if one.phase == "both" else (one.phase,):
            task.prompting = Prompting(template=file.template(task, phase))
            assert sha256(parts(task.messages(example))[one.part]) == one.sha256, one


@pytest.mark.parametrize("name", protocol_names())
def test_every_constant_has_the_published_hash(name):
    clone = clone_of(name)
    for place, known in constant_hashes(name).items():
        text = fill([{"content": read_text(clone, place, {})}], {})[0]["content"]
        assert sha256(text) == known, place


@pytest.mark.parametrize("name", protocol_names())
def test_prompts_of_a_clone_are_said_to_be_as_published(name, data_folder, tmp_path):
    clone = clone_of(name)
    hashed = {
        one.task for one in prompt_hashes() if one.protocol == name and one.phase == "evaluation" and can_be_shown(one)
    }
    assert prompts("--protocol", name, "--from", clone, "--out", tmp_path / "p.yaml") == 0
    file = read_prompts(tmp_path / "p.yaml", registry.names("task"))
    for task in (registry.get_task(task)(TaskOptions()) for task in sorted(hashed)):
        set_prompts(task, file, [], 0)
        examples = list(examples_of(task.name, data_folder, clone).values())
        found = check_prompts(name, task, examples, lambda task, one: parts(task.messages(one))["model-input"])
        assert (found.state, task.name) == ("as published", task.name)
    assert [one.changed for one in read_published_prompts(load_protocol(name), clone)] == [()] * len(file.templates)
