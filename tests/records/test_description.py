"""config.yaml: written and read in one place, in the form of any version."""

from pathlib import Path

import pytest
import yaml

from harness.records.description import RunDescription, read_description, write_description
from harness.records.jsonl import RecordError
from harness.records.schema import RunIdentity

IDENTITY = RunIdentity(
    task="sudoku",
    method="egspo",
    model="org/model",
    recipe="paper",
    reward="task",
    seed=3,
    train_data="hub",
    test_data="builtin",
    config_hash="0a1b2c3d",
)
DESCRIPTION = RunDescription(
    identity=IDENTITY,
    config={"task": "sudoku", "train": {"batch_size": 64}, "budget": {"updates": 8}},
    execution={"device": "cpu", "micro_batch_size": 4},
    provenance={"train.batch_size": "protocol", "execution.device": "command line"},
)


def test_a_description_reads_back_as_it_was_written(tmp_path):
    assert read_description(tmp_path) is None
    write_description(tmp_path, DESCRIPTION)
    assert read_description(tmp_path) == DESCRIPTION
    assert sorted(yaml.safe_load((tmp_path / "config.yaml").read_text())) == [
        "config",
        "execution",
        "identity",
        "provenance",
        "schema",
    ]


def test_the_folder_is_named_by_hash_and_seed():
    assert IDENTITY.folder == Path("sudoku/egspo/org--model/0a1b2c3d-seed3")


def test_an_earlier_version_s_record_is_read_under_the_present_names():
    earlier = {
        "schema": 1,
        "identity": {**vars(IDENTITY), "checkpoint_choice": "last", "extra": {}},
        "config": {
            "task": "sudoku",
            "model": {"name": "tiny", "device": "cuda:1"},
            "train": {"batch_size": 64, "micro_batch_size": 6, "checkpoint_every": 50},
            "evaluation": {"items": 256, "batch_size": 32},
        },
        "provenance": {"model.device": "command line", "train.batch_size": "recipe"},
    }
    found = RunDescription.from_record(earlier)
    assert found.identity == IDENTITY
    assert found.config == {
        "task": "sudoku",
        "model": {"name": "tiny"},
        "train": {"batch_size": 64},
        "evaluation": {"items": 256},
    }
    assert found.execution == {
        "device": "cuda:1",
        "micro_batch_size": 6,
        "checkpoint_every": 50,
        "evaluation_batch_size": 32,
    }
    assert found.provenance == {"execution.device": "command line", "train.batch_size": "recipe"}
    assert "device" in earlier["config"]["model"], "what was read is left as it was"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "config.yaml cannot be read"),
        ("3", "config.yaml is not a mapping"),
        ("schema: 2", "config.yaml has schema 2, this version reads 1"),
        ("config: {}", "config.yaml has schema None"),
        ("schema: 1", "config.yaml has no mapping 'config'"),
        ("{schema: 1, config: {}, execution: 3}", "no mapping 'execution'"),
        ("{schema: 1, config: {}, identity: {seed: 1}, provenance: {}}", "the identity in config.yaml does not fit"),
        ("{schema: 1, config: {}, identity: {seed: 1}}", "the identity in config.yaml does not fit"),
    ],
)
def test_a_damaged_record_is_refused_with_its_reason(tmp_path, text, said):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(RecordError, match=said):
        read_description(tmp_path)
