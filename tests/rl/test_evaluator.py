"""A run that evaluates each checkpoint in several ways, and keeps the checkpoints that a rule names."""

import pytest

import harness
from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.errors import UserError
from harness.records.jsonl import read_lines, read_samples
from harness.records.run_folder import EVAL_FILE
from harness.rl.evaluator import Evaluated

pytestmark = pytest.mark.slow

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "execution.checkpoint_every": 1,
    "evaluation.items": 8,
    "evaluation.every": 2,
    "evaluation.decodings": [{"num_steps": 8}, {"num_steps": 4}],
    "evaluation.validation_items": 6,
    "optimizer.learning_rate": 3e-3,
}


def planned(runs, **overrides):
    return plan(RunRequest(method="egspo", task="sudoku", runs=runs, overrides=SMALL | overrides))


def evaluations(folder):
    return [
        (line["checkpoint"], line["update"], line["split"], line["decoding"]["num_steps"], line["samples_file"])
        for line in read_lines(folder / EVAL_FILE)
    ]


def untimed(folder):
    times = ("seconds", "eval_seconds", "tokens_per_second")
    return [{key: value for key, value in line.items() if key not in times} for line in read_lines(folder / EVAL_FILE)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cell = planned(tmp_path_factory.mktemp("runs"), budget={"updates": 4}, **{"execution.keep": "all"})
    execute(cell, lambda event: None)
    return cell.folder


def test_every_decoding_and_the_validation_items_are_evaluated_at_every_checkpoint(finished):
    assert evaluations(finished) == [
        ("base", 0, "test", 8, "samples-base.jsonl.gz"),
        ("base", 0, "test", 4, "samples-base-2.jsonl.gz"),
        ("base", 0, "validation", 8, "samples-base-3.jsonl.gz"),
        ("step", 2, "test", 8, "samples-step000002.jsonl.gz"),
        ("step", 2, "test", 4, "samples-step000002-2.jsonl.gz"),
        ("step", 2, "validation", 8, "samples-step000002-3.jsonl.gz"),
        ("last", 4, "test", 8, "samples-last.jsonl.gz"),
        ("last", 4, "test", 4, "samples-last-2.jsonl.gz"),
        ("last", 4, "validation", 8, "samples-last-3.jsonl.gz"),
    ]
    sizes = [len(list(read_samples(finished / name))) for *_, name in evaluations(finished)]
    assert sizes == [8, 8, 6] * 3


def test_the_result_in_python_is_that_of_the_first_decoding_at_the_last_checkpoint(finished):
    cell = {"method": "egspo", "task": "sudoku", "runs": finished.parents[3]}
    result = harness.run(**cell, overrides=SMALL | {"budget": {"updates": 4}, "execution.keep": "all"})
    assert result.folder == finished
    evaluation = result.evaluation
    assert (evaluation.checkpoint, evaluation.split, evaluation.decoding["num_steps"]) == ("last", "test", 8)


def test_a_kill_between_two_evaluations_of_a_checkpoint_changes_nothing(finished, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(event):
        if isinstance(event, Evaluated) and event.record.checkpoint == "last":
            raise StoppedError

    cell = planned(tmp_path, budget={"updates": 4}, **{"execution.keep": "all"})
    with pytest.raises(StoppedError):
        execute(cell, stop)
    assert len(evaluations(cell.folder)) == 7
    execute(planned(tmp_path, budget={"updates": 4}, **{"execution.keep": "all"}), lambda event: None)
    assert untimed(cell.folder) == untimed(finished)


def test_what_was_the_end_becomes_a_step_under_every_decoding_when_the_run_goes_on(finished, tmp_path):
    execute(planned(tmp_path, budget={"updates": 2}), lambda event: None)
    longer = planned(tmp_path, budget={"updates": 4})
    execute(longer, lambda event: None)
    assert untimed(longer.folder) == untimed(finished)
    assert not list(longer.folder.glob("samples-*last*-4*"))


def test_an_end_that_was_only_half_evaluated_is_evaluated_again_as_a_step(finished, tmp_path):
    half = planned(tmp_path, budget={"updates": 2})
    execute(half, lambda event: None)
    lines = (half.folder / EVAL_FILE).read_text().splitlines(keepends=True)
    (half.folder / EVAL_FILE).write_text("".join(lines[:-1]))
    longer = planned(tmp_path, budget={"updates": 4})
    execute(longer, lambda event: None)
    steps = [one for one in evaluations(longer.folder) if one[0] == "step"]
    assert [one[:4] for one in steps] in ([], [one[:4] for one in evaluations(finished)[3:6]])


def kept(folder):
    return sorted(int(path.name.removeprefix("update-")) for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("rule", "stay"), [("last", [6]), ("2", [4, 6]), ("every=4", [4, 6]), ("every=3", [4, 6]), ("all", [2, 4, 6])]
)
def test_checkpoints_stay_by_the_rule(tmp_path, rule, stay):
    cell = planned(tmp_path, budget={"updates": 6}, **{"execution.keep": rule})
    execute(cell, lambda event: None)
    assert kept(cell.folder) == stay


def test_the_best_on_validation_stays_beside_the_newest_and_is_saved_when_it_is_found(tmp_path):
    cell = planned(
        tmp_path,
        budget={"updates": 8},
        **{"execution.keep": "best=validation", "execution.checkpoint_every": 1000},
    )
    execute(cell, lambda event: None)
    values = {
        line["update"]: line["metrics"]["exact_match"]["part"]
        for line in read_lines(cell.folder / EVAL_FILE)
        if line["split"] == "validation" and line["update"]
    }
    best = max(values, key=lambda update: (values[update], -update))
    assert kept(cell.folder) == sorted({best, 8})


def test_the_best_on_validation_needs_validation_items(tmp_path):
    with pytest.raises(UserError, match="needs validation items; set evaluation"):
        planned(tmp_path, **{"execution.keep": "best=validation", "evaluation.validation_items": 0})


def test_more_validation_items_than_there_are_are_refused(tmp_path):
    cell = planned(tmp_path, budget={"updates": 1}, **{"evaluation.validation_items": 99999})
    with pytest.raises(UserError, match=r"lower it with --set evaluation\.validation_items="):
        execute(cell, lambda event: None)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("evaluation.lengths", [24], "evaluation.decoding.completion_length=24"),
        ("evaluation.lengths", [1], "the number of steps would not be whole"),
        ("evaluation.lengths", ["x"], "evaluation.lengths='x' is not a whole number"),
        ("evaluation.decodings", [{"num_step": 4}], "Did you mean 'evaluation.decoding.num_steps'"),
        ("evaluation.decodings", [4], "evaluation.decodings=4 is not a mapping"),
        ("evaluation.decodings", [{"num_steps": 99}], "evaluation.decoding.num_steps=99"),
        ("evaluation.validation_items", -1, "evaluation.validation_items=-1 is negative"),
    ],
)
def test_decodings_that_cannot_be_are_refused_before_anything_is_made(tmp_path, key, value, words):
    with pytest.raises(UserError) as error:
        planned(tmp_path, **{key: value})
    assert words in str(error.value)
    assert not list(tmp_path.iterdir())


def test_lengths_keep_the_tokens_per_step(tmp_path):
    cell = planned(tmp_path, **{"evaluation.lengths": [16, 32], "evaluation.decodings": []})
    decodings = cell.resolved.config.evaluation.all_decodings
    assert [(one.completion_length, one.num_steps, one.block_length) for one in decodings] == [
        (16, 8, 16),
        (32, 16, 16),
    ]
