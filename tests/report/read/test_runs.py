from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.records.jsonl import append_line
from harness.records.run_folder import CONFIG_FILE, EVAL_FILE, METRICS_FILE, STATUS_FILE
from harness.report.read.runs import Run, Skipped, collect, scan


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = yaml.safe_load((folder / CONFIG_FILE).read_text())
    change(tree)
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(tree))


def change_evals(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    lines = [json.loads(line) for line in (folder / EVAL_FILE).read_text().splitlines()]
    for line in lines:
        change(line)
    (folder / EVAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def only_reason(root: Path) -> str:
    found = collect([root])
    assert found.runs == ()
    assert len(found.skipped) == 1
    return found.skipped[0].reason


def test_a_finished_run_is_read_whole(synthetic: Any) -> None:
    folder = synthetic.run(seed=2)
    (run,) = collect([synthetic.root]).runs
    assert run.folder == folder
    assert run.name == "sudoku/egspo-sa/tiny/0a1b2c3d-seed2"
    assert (run.identity.method, run.identity.seed) == ("egspo-sa", 2)
    assert run.settings["method.num_selected"] == 2
    assert run.provenance["budget.updates"] == "recipe"
    assert [record.checkpoint for record in run.evals] == ["base", *["step"] * 5, "last"]


def test_the_name_is_the_same_from_the_run_folder_a_folder_above_and_the_root(synthetic: Any) -> None:
    folder = synthetic.run()
    names = {
        collect([path]).runs[0].name for path in (folder, folder.parent, synthetic.root / "sudoku", synthetic.root)
    }
    assert names == {"sudoku/egspo-sa/tiny/0a1b2c3d-seed0"}


def test_a_model_with_a_slash_keeps_its_folder(synthetic: Any) -> None:
    synthetic.run(model="GSAI-ML/LLaDA-8B-Instruct")
    assert collect([synthetic.root]).runs[0].name == "sudoku/egspo-sa/GSAI-ML--LLaDA-8B-Instruct/0a1b2c3d-seed0"


def test_a_moved_run_is_named_after_where_it_lies(synthetic: Any) -> None:
    synthetic.run().rename(synthetic.root / "best")
    assert collect([synthetic.root]).runs[0].name == "best"


def test_runs_come_in_the_order_of_their_names_whatever_the_order_of_the_arguments(synthetic: Any) -> None:
    folders = [synthetic.run(seed=seed) for seed in (2, 0, 1)]
    forward, backward = collect(folders), collect(folders[::-1])
    assert [run.identity.seed for run in forward.runs] == [0, 1, 2]
    assert forward == backward


def test_overlapping_arguments_count_a_run_once(synthetic: Any) -> None:
    folder = synthetic.run()
    found = collect([synthetic.root, folder, folder.parent])
    assert len(found.runs) == 1
    assert found.skipped == ()


def test_a_copy_of_a_run_is_not_a_second_seed(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run()
    type(synthetic)(root=tmp_path / "backup").run()
    found = collect([tmp_path])
    assert len(found.runs) == 1
    assert "same configuration and seed" in found.skipped[0].reason


@pytest.mark.parametrize(("state", "reason"), [("running", ""), ("failed", "loss became NaN")])
def test_an_unfinished_run_is_left_out_with_its_counts(synthetic: Any, state: str, reason: str) -> None:
    synthetic.run(state=state, reason=reason, updates=7)
    told = only_reason(synthetic.root)
    assert told.startswith(f"unfinished ({state}")
    assert reason in told
    assert "7 updates, 7 evaluations" in told


def test_a_run_killed_before_its_first_status_is_running(synthetic: Any) -> None:
    (synthetic.run() / STATUS_FILE).unlink()
    assert only_reason(synthetic.root).startswith("unfinished (running), 0 updates")


def test_a_finished_run_without_an_evaluation_of_its_last_checkpoint_is_left_out(synthetic: Any) -> None:
    synthetic.run(records=synthetic.learning(40, 160)[:-1])
    assert only_reason(synthetic.root) == "finished, but its last checkpoint has no evaluation"


def test_a_torn_last_line_costs_only_that_line(synthetic: Any) -> None:
    folder = synthetic.run()
    with open(folder / EVAL_FILE, "ab") as stream:
        stream.write(b'{"checkpoint": "la')
    assert len(collect([synthetic.root]).runs[0].evals) == 7


def test_another_tools_config_is_foreign(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("model: gpt\nlr: 1\n")
    assert only_reason(tmp_path).startswith("foreign: ")


def test_a_run_below_a_foreign_config_is_still_found(synthetic: Any, tmp_path: Path) -> None:
    synthetic.run()
    (tmp_path / CONFIG_FILE).write_text("model: gpt\n")
    found = collect([tmp_path])
    assert len(found.runs) == 1
    assert len(found.skipped) == 1


def test_an_eval_file_without_a_config_is_foreign(tmp_path: Path) -> None:
    append_line(tmp_path / EVAL_FILE, {"step": 1})
    assert only_reason(tmp_path) == "foreign: no config.yaml"


def test_a_config_of_a_newer_version_says_so(synthetic: Any) -> None:
    change_config(synthetic.run(), lambda tree: tree.update(schema=2, surprise={"more": 1}))
    assert only_reason(synthetic.root) == "from a newer version: config.yaml has schema 2, this version reads 1"


def test_an_evaluation_of_a_newer_version_says_so(synthetic: Any) -> None:
    change_evals(synthetic.run(), lambda line: line.update(schema=2, extra=1))
    assert only_reason(synthetic.root).startswith("from a newer version: eval.jsonl has schema 2")


def test_a_text_as_schema_is_foreign_not_newer(synthetic: Any) -> None:
    change_config(synthetic.run(), lambda tree: tree.update(schema="2"))
    assert only_reason(synthetic.root).startswith("foreign: ")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.pop("identity"),
        lambda tree: tree.update(identity=["sudoku"]),
        lambda tree: tree.update(config=None),
        lambda tree: tree.update(provenance="command line"),
        lambda tree: tree["identity"].pop("task"),
        lambda tree: tree["identity"].update(colour="red"),
        lambda tree: tree["identity"].update(seed="one"),
        lambda tree: tree["identity"].update(seed=True),
        lambda tree: tree["identity"].update(task=""),
        lambda tree: tree["identity"].update(method=None),
    ],
)
def test_a_config_that_does_not_fit_is_corrupt(synthetic: Any, change: Callable[[dict[str, Any]], object]) -> None:
    change_config(synthetic.run(), change)
    assert only_reason(synthetic.root).startswith("corrupt: ")


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.pop("update"),
        lambda line: line.update(update=-1),
        lambda line: line.update(update=1.5),
        lambda line: line.update(checkpoint="best"),
        lambda line: line.update(flops_total="many"),
        lambda line: line.update(flops_total=float("nan")),
        lambda line: line.update(seconds=float("inf")),
        lambda line: line.update(samples=10**400),
        lambda line: line.update(decoding=None),
        lambda line: line.update(data=3),
        lambda line: line.update(metrics=[]),
        lambda line: line.update(ceiling={"exact_match": "high"}),
        lambda line: line["metrics"].update(exact_match={"n": 3}),
        lambda line: line["metrics"]["exact_match"].update(part=257),
        lambda line: line["metrics"]["exact_match"].update(part=float("nan")),
        lambda line: line["metrics"]["cell_accuracy"].update(n=0),
        lambda line: line["metrics"]["cell_accuracy"].update(whole="8"),
    ],
)
def test_an_evaluation_that_does_not_fit_is_corrupt(synthetic: Any, change: Callable[[dict[str, Any]], object]) -> None:
    change_evals(synthetic.run(), change)
    assert only_reason(synthetic.root).startswith("corrupt: ")


@pytest.mark.parametrize("name", [CONFIG_FILE, STATUS_FILE, EVAL_FILE, METRICS_FILE])
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00 \n",
        b"{]\n",
        b"[" * 30_000 + b"\n",
        gzip.compress(b"{}") + b"\n",
        b"[1, 2]\n",
        b"7\n",
        b"null\n",
        b'{"a": 1}\nnot json\n{"a": 2}\n',
    ],
    ids=["bytes", "brackets", "deep", "gzip", "list", "number", "null", "middle"],
)
def test_garbage_in_any_file_is_told_and_never_raises(synthetic: Any, name: str, content: bytes) -> None:
    (synthetic.run() / name).write_bytes(content)
    reason = only_reason(synthetic.root)
    assert reason.startswith(("corrupt: ", "foreign: "))
    assert "\n" not in reason


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([CONFIG_FILE, STATUS_FILE, EVAL_FILE, METRICS_FILE]),
    where=st.floats(0, 1),
    byte=st.binary(max_size=3),
)
def test_bytes_overwritten_anywhere_never_raise(synthetic: Any, name: str, where: float, byte: bytes) -> None:
    folder = synthetic.root / "sudoku/egspo-sa/tiny/0a1b2c3d-seed0"
    if not folder.exists():
        synthetic.run()
    path = folder / name
    original = path.read_bytes()
    start = int(where * len(original))
    try:
        path.write_bytes(original[:start] + byte + original[start + len(byte) + 1 :])
        found = collect([synthetic.root])
        assert len(found.runs) + len(found.skipped) == 1
    finally:
        path.write_bytes(original)


def test_a_folder_in_the_place_of_a_file_is_told(synthetic: Any) -> None:
    folder = synthetic.run()
    (folder / EVAL_FILE).unlink()
    (folder / EVAL_FILE).mkdir()
    assert only_reason(synthetic.root) == "cannot be read: Is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_closed_folder_is_told(synthetic: Any) -> None:
    folder = synthetic.run()
    folder.chmod(0)
    try:
        assert only_reason(synthetic.root) == "cannot be read: Permission denied"
    finally:
        folder.chmod(0o755)


def test_checkpoints_and_hidden_folders_are_not_searched(synthetic: Any) -> None:
    folder = synthetic.run()
    for inside in (folder / "checkpoints" / "24", folder.parent / ".old"):
        inside.mkdir(parents=True)
        (inside / CONFIG_FILE).write_text("model: gpt\n")
    found = collect([synthetic.root])
    assert len(found.runs) == 1
    assert found.skipped == ()


def test_scan_returns_unfinished_runs_beside_broken_ones(synthetic: Any) -> None:
    synthetic.run(seed=0, state="running", updates=3)
    (synthetic.run(seed=1) / CONFIG_FILE).write_text("{")
    running, broken = scan([synthetic.root])
    assert isinstance(running, Run)
    assert running.status.updates == 3
    assert isinstance(broken, Skipped)
    assert broken.path == "sudoku/egspo-sa/tiny/0a1b2c3d-seed1"
