"""harness data: filling a folder, checking it, listing it. Nothing is fetched: addresses are files of the test."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from harness.app import data_folder
from harness.app.data_folder import FILES, DataFile
from harness.cli.main import main
from harness.data.hub import HubRows

GSM8K = json.dumps({"question": "q", "answer": "so\n#### 7"}) + "\n"
ROW = {"question": "q", "solution": "s", "test": "from solution import f\ndef test_a():\n    f()", "style": "x"}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the network: one file that is published and one split of the hub."""
    origin = tmp_path / "network.jsonl"
    origin.write_text(GSM8K)
    files = (
        DataFile(
            path="gsm8k/test.jsonl", tasks=("gsm8k",), items={"test": 1}, url=origin.as_uri(), sha256=digest(GSM8K)
        ),
        DataFile(
            path="kodcode/train.jsonl",
            tasks=("mbpp", "humaneval"),
            items={"train": 0},
            columns=("question", "solution", "test"),
            optional=True,
        ),
    )
    monkeypatch.setattr(data_folder, "FILES", files)
    monkeypatch.setattr(data_folder, "read_hub", lambda place: HubRows(rows=[ROW], revision="abc"))
    return origin


def harness(*arguments) -> int:
    return main(["data", *(str(argument) for argument in arguments)])


def test_pull_writes_the_files_and_their_checksums_and_verify_agrees(tmp_path, published, capsys):
    folder = tmp_path / "data"
    assert harness("pull", "--to", folder) == 0
    assert (folder / "gsm8k/test.jsonl").read_text() == GSM8K
    kept = json.loads((folder / "kodcode/train.jsonl").read_text())
    assert set(kept) == {"question", "solution", "test"}
    entries = json.loads((folder / "checksums.json").read_text())["files"]
    assert entries["gsm8k/test.jsonl"] == {"sha256": digest(GSM8K), "source": published.as_uri()}
    assert entries["kodcode/train.jsonl"]["source"] == "KodCode/KodCode-Light-RL-10K@abc"
    assert harness("verify", folder) == 0
    assert "train 1" in capsys.readouterr().out


def test_pull_again_fetches_nothing_that_is_there(tmp_path, published, capsys):
    folder = tmp_path / "data"
    assert harness("pull", "--to", folder) == 0
    published.unlink()
    capsys.readouterr()
    assert harness("pull", "--to", folder) == 0
    assert capsys.readouterr().out.count("already present") == 2


def test_pull_takes_the_tasks_that_are_named(tmp_path, published):
    assert harness("pull", "--to", tmp_path / "data", "--task", "mbpp") == 0
    assert not (tmp_path / "data" / "gsm8k").exists()
    assert (tmp_path / "data" / "kodcode" / "train.jsonl").is_file()


@pytest.mark.parametrize("damage", ["another file", None])
def test_a_file_that_cannot_be_fetched_leaves_the_others_and_is_named(tmp_path, published, capsys, damage):
    published.write_text(damage) if damage else published.unlink()
    assert harness("pull", "--to", tmp_path / "data") == 1
    said = capsys.readouterr()
    assert "1 of 2 files are missing: gsm8k/test.jsonl." in said.err
    assert ("is not the expected file" if damage else "could not be fetched") in said.out
    assert (tmp_path / "data" / "kodcode" / "train.jsonl").is_file()
    assert not (tmp_path / "data" / "gsm8k").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "gsm8k/test.jsonl").unlink(), "gsm8k/test.jsonl"),
        (lambda folder: (folder / "gsm8k/test.jsonl").write_text(GSM8K + "\n"), "sha256 is "),
        (lambda folder: (folder / "kodcode/train.jsonl").write_text(""), "sha256 is "),
    ],
)
def test_verify_finds_what_is_missing_or_changed(tmp_path, published, capsys, change, said):
    folder = tmp_path / "data"
    assert harness("pull", "--to", folder) == 0
    change(folder)
    capsys.readouterr()
    assert harness("verify", folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("WRONG") and said in line]
    assert sum(line.startswith("WRONG") for line in lines) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}\n", "lacks 'question'"), (json.dumps(ROW) + "\n[]\n", "row 2 is not an object"), ("", "train has 0 items")],
)
def test_verify_reads_every_row_also_without_a_checksum(tmp_path, published, capsys, content, said):
    folder = tmp_path / "data"
    assert harness("pull", "--to", folder, "--task", "gsm8k") == 0
    (folder / "kodcode").mkdir()
    (folder / "kodcode/train.jsonl").write_text(content)
    assert harness("verify", folder) == 1
    assert said in capsys.readouterr().out


def test_a_file_that_is_optional_may_be_missing(tmp_path, published, capsys):
    assert harness("pull", "--to", tmp_path, "--task", "gsm8k") == 0
    assert harness("verify", tmp_path) == 0
    assert "missing, but optional" in capsys.readouterr().out


def test_the_count_of_items_is_checked(tmp_path, published, monkeypatch, capsys):
    assert harness("pull", "--to", tmp_path, "--task", "gsm8k") == 0
    (file, *_) = data_folder.FILES
    more = DataFile(path=file.path, tasks=file.tasks, items={"test": 2}, url=file.url, sha256=file.sha256)
    monkeypatch.setattr(data_folder, "FILES", (more,))
    assert harness("verify", tmp_path) == 1
    assert "test has 1 items, not 2" in capsys.readouterr().out


def test_a_damaged_file_is_not_left_out_of_the_list(tmp_path, capsys):
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k/test.jsonl").write_text("{")
    assert harness("list", tmp_path) == 2
    assert "is not JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pul"], "Unknown action 'pul'. Did you mean 'pull'"),
        (["pull"], "harness data pull needs --to; it takes: --to, --task, --checkpoints."),
        (["pull", "here", "--to", "there"], "harness data pull does not take a folder; it takes: --to,"),
        (["pull", "--to", "there", "--out", "x"], "harness data pull does not take --out;"),
        (["pull", "--to", "there", "--task", "gsm8k", "--checkpoints", "llada-1.5"], "leave --task out"),
        (["pull", "--to", "there", "--task", "gsm8"], "Did you mean 'gsm8k'"),
        (["verify"], "Name a folder, or set HARNESS_DATA"),
        (["verify", "nowhere"], "'nowhere' is not a folder"),
        (["list", "nowhere"], "'nowhere' is not a folder"),
        (["verify", "--task", "gsm8k"], "harness data verify does not take --task; it takes: a folder."),
        (["prompts", "--protocol", "d1", "--out", "x"], "harness data prompts needs --from; it takes: --protocol,"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert harness(*arguments) == 2
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert said in captured
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checksums_file_and_a_place_that_is_not_a_folder_are_refused(tmp_path, published, capsys):
    (tmp_path / "checksums.json").write_text("[]")
    assert harness("verify", tmp_path) == 2
    assert "checksums.json' is damaged" in capsys.readouterr().err
    assert harness("pull", "--to", published) == 2
    assert "Cannot read or write" in capsys.readouterr().err


def test_every_file_of_the_folder_is_read_by_a_task_under_that_name():
    from harness.registry import get_task

    for file in FILES:
        assert set(file.items) <= set(get_task(file.tasks[-1]).files)
        assert {get_task(file.tasks[-1]).files[split] for split in file.items} == {file.path}
        assert bool(file.url) == bool(file.sha256 or file.git_blob)
        assert bool(file.sha256) != file.optional
