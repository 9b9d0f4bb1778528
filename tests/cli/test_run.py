"""harness run and harness eval from the command line: grids, skipping, and one clear sentence for everything wrong."""

import json

from harness.app.plan import plan
from harness.cli.main import main
from harness.cli.options.cells import CellOptions
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE

SMALL = ["--set", "train.batch_size=8", "--set", "train.group_size=4", "--set", "evaluation.items=8"]


def run(tmp_path, *arguments, method="egspo-sa", task="sudoku"):
    return main(["run", "--method", method, "--task", task, "--runs", str(tmp_path / "runs"), *SMALL, *arguments])


def test_a_read_only_results_folder_is_named(tmp_path, capsys, monkeypatch):
    def refuse(self, *arguments, **options):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    assert run(tmp_path, "--budget", "updates=1") == 2
    assert "Read-only file system" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_with_one_sentence_and_the_records_stay_readable(tmp_path, capsys, monkeypatch):
    from harness.rl import loop

    written = []

    def append(path, record):
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))
        written.append(record)
        original(path, record)

    original = loop.append_line
    monkeypatch.setattr(loop, "append_line", append)
    assert run(tmp_path, "--budget", "updates=4") == 2
    message = capsys.readouterr().err
    assert "No space left" in message
    assert "Traceback" not in message
    (metrics,) = (tmp_path / "runs").rglob(METRICS_FILE)
    assert len(list(read_lines(metrics))) == 2
    monkeypatch.undo()
    assert run(tmp_path, "--budget", "updates=4") == 0
    assert len(list(read_lines(metrics))) == 4


def test_a_grid_runs_every_cell_and_skips_what_is_finished(tmp_path, capsys):
    arguments = ["--seed", "0,1", "--budget", "updates=1"]
    assert run(tmp_path, *arguments, method="egspo-sa,egspo") == 0
    assert len(list((tmp_path / "runs").rglob(METRICS_FILE))) == 4
    capsys.readouterr()
    assert run(tmp_path, *arguments, method="egspo-sa,egspo") == 0
    assert capsys.readouterr().out.count("already finished") == 4


def test_a_failing_cell_does_not_stop_the_others_and_is_named_at_the_end(tmp_path, capsys, monkeypatch):
    from harness.cli import run as command
    from harness.errors import UserError

    original = command.execute

    def fail_for_seed_one(planned, *arguments):
        if planned.identity.seed == 1:
            raise UserError("seed one is cursed")
        original(planned, *arguments)

    monkeypatch.setattr(command, "execute", fail_for_seed_one)
    assert run(tmp_path, "--seed", "0,1,2", "--budget", "updates=1") == 1
    assert len(list((tmp_path / "runs").rglob(METRICS_FILE))) == 2
    message = capsys.readouterr().err
    assert "1 of 3 runs failed" in message
    assert "seed one is cursed" in message


def test_two_processes_never_write_one_run_folder(tmp_path, capsys):
    import fcntl

    from harness.app.plan import RunRequest, plan

    overrides = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8, "budget": {"updates": 1}}
    planned = plan(RunRequest(method="egspo-sa", task="sudoku", runs=tmp_path / "runs", overrides=overrides))
    planned.folder.mkdir(parents=True)
    with open(planned.folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(tmp_path, "--budget", "updates=1") == 2
    assert "another process" in capsys.readouterr().err


def test_eval_of_a_run_equals_its_own_last_evaluation(tmp_path, capsys):
    assert run(tmp_path, "--budget", "updates=2") == 0
    (metrics,) = (tmp_path / "runs").rglob(METRICS_FILE)
    folder = metrics.parent
    arguments = ["eval", "--task", "sudoku", "--model", str(folder), "--items", "8", "--out", str(tmp_path / "evals")]
    assert main(arguments) == 0
    assert "exact_match" in capsys.readouterr().out
    (written,) = (tmp_path / "evals").rglob(EVAL_FILE)
    recorded = list(read_lines(folder / EVAL_FILE))[-1]
    evaluated = json.loads(written.read_text())
    assert evaluated["metrics"] == recorded["metrics"]
    assert evaluated["items_sha256"] == recorded["items_sha256"]


def test_eval_refuses_more_items_than_there_are_and_decoding_keys_that_are_not(tmp_path, capsys):
    assert main(["eval", "--task", "sudoku", "--items", "9999", "--out", str(tmp_path)]) == 2
    assert "has 512" in capsys.readouterr().err
    assert main(["eval", "--task", "sudoku", "--set", "num_step=8", "--out", str(tmp_path)]) == 2
    assert "Did you mean 'evaluation.decoding.num_steps'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_compile_is_a_setting_of_execution_and_leaves_the_name_of_the_run():
    plain, compiled = (CellOptions(method="egspo-sa", task="sudoku", compile=on).requests()[0] for on in (False, True))
    assert compiled.overrides == {**plain.overrides, "execution.compile": True}
    assert plan(compiled).identity == plan(plain).identity
    assert plan(compiled).resolved.execution.compile
