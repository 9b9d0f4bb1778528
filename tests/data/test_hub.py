"""Data sets of the hub: which splits are asked for, at which revision, and what is said where there is no network.

The library's call is replaced: what it gives back is made here, and nothing is fetched.
"""

from __future__ import annotations

import datasets
import pytest

from harness.app.run import describe_examples
from harness.data import hub as hub_data
from harness.data.sources import DataSource
from harness.errors import UserError
from harness.registry import get_task

HUB = DataSource(kind="hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = {
    "openai/gsm8k": [{"question": "q", "answer": "so\n#### 7"}],
    "HuggingFaceH4/MATH-500": [{"problem": "p", "solution": "\\boxed{7}", "answer": "7"}],
    "ankner/math-500": [{"problem": "p", "solution": "so $\\boxed{8}$"}],
    "Jiayi-Pan/Countdown-Tasks-3to4": [
        {"target": 17, "nums": [3, 4, 5]},
        {"target": 20, "nums": [3, 4, 5, 8]},
        {"target": 12, "nums": [3, 4, 5]},
    ],
    "google-research-datasets/mbpp": [
        {"task_id": 11, "prompt": "Double.", "code": "def f(x): return 2*x", "test_list": ["assert f(1) == 2"]}
        | {"test_imports": []},
    ],
    "KodCode/KodCode-Light-RL-10K": [
        {"question": "Double.", "solution": "def f(x): return 2*x"}
        | {"test": "from solution import f\ndef test_one():\n    assert f(1) == 2", "test_info": []},
    ],
}
PLACES = {
    ("gsm8k", "train"): ("openai/gsm8k", "main", "train", "740312add88f781978c0658806c59bc2815b9866"),
    ("gsm8k", "test"): ("openai/gsm8k", "main", "test", "740312add88f781978c0658806c59bc2815b9866"),
    ("math500", "train"): ("ankner/math-500", None, "train", "main"),
    ("math500", "test"): ("HuggingFaceH4/MATH-500", None, "test", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
    ("countdown", "train"): (
        "Jiayi-Pan/Countdown-Tasks-3to4",
        None,
        "train",
        "408f70d177020686d34a56bba5952feb45aaaee4",
    ),
    ("mbpp", "test"): (
        "google-research-datasets/mbpp",
        "sanitized",
        "test",
        "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    ),
    ("mbpp", "train"): ("KodCode/KodCode-Light-RL-10K", None, "train", "dcf78a8bbba9a613b596ce993c4921a38687dfcc"),
    ("humaneval", "train"): (
        "KodCode/KodCode-Light-RL-10K",
        None,
        "train",
        "dcf78a8bbba9a613b596ce993c4921a38687dfcc",
    ),
}


REAL_LOAD = datasets.load_dataset


class Loaded(list):
    """Rows with the cache file that the library names after the commit."""

    def __init__(self, rows, commit):
        super().__init__(rows)
        self.cache_files = [{"filename": f"/cache/openai___gsm8k/main/0.0.0/{commit}/gsm8k-test.arrow"}]


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Every call of the library: (data set, configuration, split, revision)."""
    calls = []

    def load(name, config, *, split, revision):
        calls.append((name, config, split, revision))
        return Loaded(ROWS[name], COMMIT if revision == "main" else revision)

    monkeypatch.setattr(datasets, "load_dataset", load)
    hub_data._load.cache_clear()
    yield calls
    hub_data._load.cache_clear()


@pytest.mark.parametrize(("name", "split"), PLACES)
def test_a_split_comes_from_its_data_set_at_its_revision(asked, name, split):
    examples = get_task(name)().examples(split, HUB)
    assert asked == [PLACES[name, split]]
    assert examples


def test_rows_of_the_hub_become_the_examples_that_files_give():
    assert get_task("gsm8k")().examples("test", HUB)[0].target == {"answer": "7", "solution": "so"}
    assert get_task("math500")().examples("train", HUB)[0].target["answer"] == "8"
    assert get_task("mbpp")().examples("test", HUB)[0].id == "mbpp-11"


def test_of_countdown_only_items_with_three_numbers_count_and_none_that_the_test_asks():
    task = get_task("countdown")()
    train = task.examples("train", HUB)
    assert [example.target["target"] for example in train] == [17, 12]
    test = [task.example_for("", [[5, 3, 4], 17]), task.example_for("", [[3, 4, 6], 12])]
    assert [example.target["target"] for example in task.without_test_items(train, test)] == [12]


def test_the_commit_is_recorded_also_where_a_branch_was_asked_for():
    task = get_task("math500")()
    record = describe_examples(task, "train", HUB, task.examples("train", HUB))
    assert record["source"] == "hub"
    expected = {"dataset": "ankner/math-500", "config": None, "split": "train", "revision": COMMIT}
    assert record["origin"] == expected
    assert (record["items"], len(record["sha256"])) == (1, 64)


def test_a_folder_s_file_is_recorded_with_its_hash(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text("abc")
    origin = get_task("gsm8k")().origin("test", DataSource(kind="dir", folder=tmp_path))
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert origin == {"file": "gsm8k/test.jsonl", "sha256": digest}


def test_a_folder_s_kodcode_is_what_mbpp_and_humaneval_train_on_and_is_recorded(tmp_path):
    source = DataSource(kind="dir", folder=tmp_path)
    (tmp_path / "kodcode").mkdir()
    (tmp_path / "kodcode" / "train.jsonl").write_text("")
    for name in ("mbpp", "humaneval"):
        assert get_task(name)().origin("train", source)["file"] == "kodcode/train.jsonl"
        assert get_task(name)().examples("train", source) == []


@pytest.mark.parametrize(("name", "split"), [("countdown", "test"), ("sudoku", "test"), ("sudoku", "train")])
def test_what_the_hub_does_not_have_is_said_with_the_way_out(asked, name, split):
    with pytest.raises(UserError, match=f"{name} has no {split} split from 'hub'; use --(train-)?data"):
        get_task(name)().examples(split, HUB)
    assert asked == []


@pytest.mark.parametrize(
    "error",
    [ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub"), datasets.exceptions.DatasetNotFoundError("gone")],
)
def test_without_network_one_sentence_says_what_to_run(monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=r"could not be fetched from the hub .* `harness data pull --to DIR`, then use"):
        get_task("gsm8k")().examples("test", HUB)


def test_the_library_s_own_rows_are_read_and_a_folder_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", REAL_LOAD)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "train.jsonl").write_text('{"nums": [3, 4, 5], "target": 17}\n')
    place = hub_data.HubSplit(dataset=str(tmp_path / "mirror"), split="train")
    assert hub_data.read_hub(place) == hub_data.HubRows(rows=[{"nums": [3, 4, 5], "target": 17}], revision="main")
    with pytest.raises(UserError, match="could not be fetched from the hub"):
        hub_data.read_hub(hub_data.HubSplit(dataset=str(tmp_path / "mirror"), split="test"))
