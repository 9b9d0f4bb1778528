"""traces.jsonl: one completion of the first and of the last rollout, as the method saw it."""

import json

import pytest

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.records.jsonl import RecordError, read_lines
from harness.records.run_folder import CHECKPOINT_FOLDER, TRACE_FILE
from harness.records.schema import TraceRecord
from harness.rl import checkpoint

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "evaluation.items": 8,
    "evaluation.every": 0,
    "budget": {"updates": 4},
}


def run(runs, method="egspo-sa", **overrides):
    planned = plan(RunRequest(method=method, task="sudoku", runs=runs, overrides=SMALL | overrides))
    execute(planned, lambda event: None)
    return planned.folder


def traces(folder):
    return [TraceRecord.from_json(line) for line in read_lines(folder / TRACE_FILE)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs"))


def test_the_first_and_the_last_rollout_leave_a_trace(finished):
    first, last = traces(finished)
    # Two chosen steps, hence two updates per rollout: four updates are two rollouts.
    assert (first.iteration, first.update) == (1, 0)
    assert (last.iteration, last.update) == (2, 2)
    for trace in (first, last):
        assert len(trace.tokens) == 16
        assert "".join(trace.tokens) == trace.text
        assert len(trace.prompt) > 16
        assert sorted(set(trace.unmask_step)) == [0, 1, 2, 3]
        assert all(value >= 0 for value in trace.entropy)


def test_the_chosen_steps_are_those_of_highest_entropy(finished):
    for trace in traces(finished):
        mean = [
            sum(value for value, step in zip(trace.entropy, trace.unmask_step, strict=True) if step == wanted) / 4
            for wanted in range(4)
        ]
        assert list(trace.chosen_steps) == sorted(range(4), key=lambda step: -mean[step])[:2]


def test_greedy_completions_keep_what_was_revealed_before_their_step(finished):
    for trace in traces(finished):
        assert [item.step for item in trace.greedy] == sorted(trace.chosen_steps)
        for item in trace.greedy:
            kept = [place for place, step in enumerate(trace.unmask_step) if step < item.step]
            assert [item.tokens[place] for place in kept] == [trace.tokens[place] for place in kept]
            assert "".join(item.tokens) == item.text
            if item.text == trace.text:
                assert item.reward == trace.reward


def test_the_baseline_at_the_same_step_shows_the_row_s_own_steps_alone(tmp_path):
    for trace in traces(run(tmp_path, **{"method.baseline": "step", "method.selection": "random"})):
        assert [item.step for item in trace.greedy] == sorted(trace.chosen_steps)
        assert len(trace.greedy) == 2


def test_methods_without_chosen_steps_leave_them_empty(tmp_path):
    first, _ = traces(run(tmp_path, method="espo"))
    assert (first.chosen_steps, first.greedy) == ((), ())
    only = traces(run(tmp_path, method="egspo", budget={"updates": 1}))
    assert [(trace.iteration, trace.greedy) for trace in only] == [(1, ())]


def test_a_checkpoint_from_before_traces_is_resumed(finished, tmp_path):
    (place,) = checkpoint.checkpoints(finished / CHECKPOINT_FOLDER)
    state = json.loads((place / checkpoint.STATE).read_text())
    assert state["progress"].pop("traces") == 2
    (tmp_path / checkpoint.STATE).write_text(json.dumps(state))
    for name in (checkpoint.WEIGHTS, checkpoint.OPTIMIZER):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    assert checkpoint.load_progress(tmp_path).traces == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"tokens": ["a"]}, "do not fit together"),
        ({"unmask_step": [9] * 16}, "do not fit together"),
        ({"entropy": ["high"] * 16}, "do not fit together"),
        ({"num_steps": "4"}, "do not fit together"),
        ({"entropy": None}, "incomplete"),
        ({"greedy": [{"step": 1}]}, "incomplete"),
        ({"colour": "red"}, "incomplete"),
    ],
)
def test_a_damaged_trace_is_refused_with_its_reason(finished, change, reason):
    line = next(read_lines(finished / TRACE_FILE))
    with pytest.raises(RecordError, match=reason):
        TraceRecord.from_json(line | change)


def test_a_trace_reads_back_as_it_was_written(finished):
    for line in read_lines(finished / TRACE_FILE):
        assert json.loads(json.dumps(TraceRecord.from_json(line).to_json())) == line
