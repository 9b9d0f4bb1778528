"""harness bench: its tables, its record, and what it refuses."""

import json

import pytest

from harness.cli.main import main

QUICK = ("--shape", "tiny", "--batch", "2", "--runs", "1", "--device", "cpu")


def test_a_table_is_printed_and_a_record_written(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main(["bench", *QUICK, "--part", "rollout,startup", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "CPU, shape tiny: matrix products at" in printed
    heads = [line.split() for line in printed.splitlines() if line.startswith("What")]
    assert [("Passes" in head, "Same" in head) for head in heads] == [(True, False), (False, False)]
    record = json.loads(out.read_text())
    assert [row["name"] for row in record["parts"]["rollout"]] == ["exact", "prefix", "dual", "threshold"]
    assert [row["name"] for row in record["parts"]["startup"]] == ["harness --help", "import harness"]
    assert record["request"]["batch"] == 2
    assert record["matmul FLOP/s"] > 0
    first = record["parts"]["rollout"][0]
    assert first["ratio"] == first["floor_seconds"][0] / first["seconds"][0]


@pytest.mark.slow
def test_growth_has_a_table_of_its_own(capsys):
    assert main(["bench", *QUICK, "--part", "growth"]) == 0
    assert "Account / torch's counter" in capsys.readouterr().out


@pytest.mark.slow
def test_updates_and_grading_are_measured(tmp_path):
    out = tmp_path / "bench.json"
    assert main(["bench", *QUICK, "--part", "update,grading", "--out", str(out)]) == 0
    parts = json.loads(out.read_text())["parts"]
    assert [(row["name"], row["amount"]) for row in parts["update"] + parts["grading"]] == [
        ("egspo-sa", 4.0),
        ("HumanEval's own solutions", 164.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--part", "rollouts"), "--part 'rollouts'"),
        (("--shape", "huge"), "--shape 'huge'"),
        (("--beside", "."), "--beside CLONE and --beside-python PYTHON go together"),
        (("--beside", ".", "--beside-python", "python"), "has no llada/generate.py or generate.py"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments, said, capsys):
    quick = [] if "--shape" in arguments else QUICK
    assert main(["bench", *quick, *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
