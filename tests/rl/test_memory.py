"""Batches that do not fit into the memory: halved, said so, and with the numbers of the batch that fits."""

import contextlib

import pytest
import torch
from safetensors.torch import load_file

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.distributed.in_step import OutOfMemoryElsewhere
from harness.errors import UserError
from harness.models.memory import EVALUATION, PREPARATION, ROLLOUT, UPDATE, Memory
from harness.models.meter import Meter
from harness.models.predictor import MaskedPredictor
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE
from harness.rl.checkpoint import checkpoints
from harness.rl.ledger import Ledger

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "evaluation.items": 7,
    "budget": {"updates": 2},
    "rollout.completion_length": 16,
}
METHODS = {
    "egspo": {"method.beta": 0.1, "method.num_selected": 2, "rollout.eos_policy": "stop"},
    "egspo-sa": {"method.greedy": "lazy", "method.num_selected": 2},
    "d1": {"method.inner_updates": 2},
    "agrpo": {"method.mc_samples": 2},
    "espo": {"method.inner_updates": 2},
}
TRAINED = {
    "adapters": {"model.lora.rank": 4, "model.lora.targets": "official-subset"},
    "all weights, with a reference policy": {"method.beta": 0.1},
}
PHASES = {"rollout": ROLLOUT, "prepare": PREPARATION, "update": UPDATE, "eval": EVALUATION}


def run(runs, method, **overrides):
    """The folder of a run of two updates, and what it warned of."""
    warnings = []
    planned = plan(RunRequest(method=method, task="sudoku", runs=runs, overrides=SMALL | METHODS[method] | overrides))
    execute(planned, lambda event: None, warnings.append)
    return planned.folder, warnings


def numbers(value, name=""):
    """Every number of a record, by its place, but the times."""
    if isinstance(value, dict):
        return {key: item for part in value for key, item in numbers(value[part], f"{name}.{part}").items()}
    if isinstance(value, list):
        return {key: item for i, part in enumerate(value) for key, item in numbers(part, f"{name}.{i}").items()}
    return {} if "seconds" in name else {name: value}


def assert_same(folder, expected, tolerance):
    for found, wanted in zip(read_lines(folder / METRICS_FILE), read_lines(expected / METRICS_FILE), strict=True):
        assert numbers(found) == pytest.approx(numbers(wanted), rel=1e-4, abs=1e-5)
    for found, wanted in zip(read_lines(folder / EVAL_FILE), read_lines(expected / EVAL_FILE), strict=True):
        assert found["metrics"] == wanted["metrics"]
    found, wanted = (
        load_file(checkpoints(one / "checkpoints")[-1] / "weights.safetensors") for one in (folder, expected)
    )
    assert found.keys() == wanted.keys()
    assert max(float((found[name] - wanted[name]).abs().max()) for name in found) < tolerance


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Runs in whole batches, by method, made when they are first asked for."""
    made = {}

    def folder(method, **overrides):
        key = (method, *overrides)
        if key not in made:
            made[key], warnings = run(tmp_path_factory.mktemp(method), method, **overrides)
            assert warnings == []
        return made[key]

    return folder


@pytest.fixture
def small_memory(monkeypatch):
    """In one phase passes of more than five sequences do not fit."""

    def in_phase(name):
        phase, inside, hidden = Ledger.phase, [], MaskedPredictor.hidden

        def noting(self, entered):
            inside.append(entered)
            return phase(self, entered)

        def limited(self, tokens_BL, mask_BL, clean_BL):
            if inside and inside[-1] == name and len(tokens_BL) > 5:
                raise torch.OutOfMemoryError("injected")
            return hidden(self, tokens_BL, mask_BL, clean_BL)

        monkeypatch.setattr(Ledger, "phase", noting)
        monkeypatch.setattr(MaskedPredictor, "hidden", limited)

    return in_phase


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "phase"),
    [
        ("egspo", "rollout"),
        ("egspo-sa", "prepare"),
        ("espo", "prepare"),
        ("agrpo", "update"),
        ("espo", "update"),
        ("d1", "eval"),
    ],
)
def test_a_run_that_does_not_fit_goes_on_in_halves_with_the_same_numbers(tmp_path, plain, small_memory, method, phase):
    expected = plain(method)
    small_memory(phase)
    folder, warnings = run(tmp_path, method)
    assert f"Out of memory with {PHASES[phase]}=" in warnings[0]
    assert warnings[-1].endswith(f"; going on with {3 if phase == 'eval' else 4}.")
    assert len(warnings) == len(set(warnings))
    assert_same(folder, expected, 5e-6)


def test_a_backward_pass_that_does_not_fit_leaves_no_half_a_gradient(tmp_path, plain, monkeypatch):
    expected, backward, calls = plain("agrpo"), torch.Tensor.backward, []

    def failing_once(self, *arguments, **options):
        backward(self, *arguments, **options)
        calls.append(self)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(torch.Tensor, "backward", failing_once)
    folder, warnings = run(tmp_path, "agrpo")
    assert warnings == [f"Out of memory with {UPDATE}=8; going on with 4."]
    assert_same(folder, expected, 5e-6)


@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.slow
def test_micro_batches_and_batches_of_rollouts_change_nothing(tmp_path, plain, method, size, trained):
    settings = {"execution.micro_batch_size": size, "execution.rollout_batch_size": 5}
    folder, warnings = run(tmp_path, method, **TRAINED[trained], **settings)
    assert warnings == []
    assert_same(folder, plain(method, **TRAINED[trained]), 5e-6)


def test_what_fits_is_remembered_and_a_smaller_batch_is_left_as_it_is():
    memory, said, tried = Memory(Meter()), [], []
    memory.say = said.append

    def attempt(size):
        tried.append(size)
        if size > 6:
            raise torch.OutOfMemoryError("injected")
        return size

    assert [memory.fitting(UPDATE, wanted, attempt) for wanted in (20, 20, 4)] == [5, 5, 4]
    assert tried == [20, 10, 5, 5, 4]
    assert said == [f"Out of memory with {UPDATE}={size}; going on with {size // 2}." for size in (20, 10)]
    assert memory.fitting(ROLLOUT, 6, attempt) == 6


def test_pieces_go_on_where_the_last_one_that_fitted_ended():
    memory, done = Memory(Meter()), []
    memory.say = lambda text: None

    def piece(rows):
        if rows.stop > 4 and rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("injected")
        done.append((rows.start, rows.stop))
        return rows.stop

    assert list(memory.pieces(ROLLOUT, 9, 4, piece)) == [4, 6, 8, 9]
    assert done == [(0, 4), (4, 6), (6, 8), (8, 9)]


def test_one_sequence_that_does_not_fit_ends_the_run_with_what_to_set():
    def attempt(size):
        raise torch.OutOfMemoryError("injected")

    memory = Memory(Meter())
    memory.say = lambda text: None
    with pytest.raises(UserError, match=r"rollout_batch_size=1\..*activation_checkpointing"):
        memory.fitting(ROLLOUT, 2, attempt)


class Others:
    """Other processes, of which one runs out of memory in the attempts of these numbers, the first being 0."""

    recovers, is_trying = True, False

    def __init__(self, *failing, ends=False):
        self.failing, self.ends, self.attempts, self.told = failing, ends, 0, []

    @contextlib.contextmanager
    def attempt(self):
        self.is_trying = True
        try:
            yield
            self.attempts += 1
            if self.attempts - 1 in self.failing:
                raise OutOfMemoryElsewhere(ends=self.ends)
        finally:
            self.is_trying = False

    def give_up(self, error, *, ends):
        self.told.append((type(error), ends))
        return error.ends if isinstance(error, OutOfMemoryElsewhere) else ends


def memory_with(others):
    memory = Memory(Meter())
    memory.together, memory.say = others, lambda text: None
    return memory


def test_what_fits_here_is_halved_where_it_did_not_fit_elsewhere_and_one_sequence_is_tried_again():
    others, tried = Others(0, 1, 2), []
    assert memory_with(others).fitting(UPDATE, 2, lambda size: tried.append(size) or size) == 1
    assert tried == [2, 1, 1, 1]
    assert others.told == [(OutOfMemoryElsewhere, False), (OutOfMemoryElsewhere, True), (OutOfMemoryElsewhere, True)]


def test_another_process_that_cannot_do_with_less_ends_the_run_here_too():
    with pytest.raises(UserError, match=r"ran out of memory with execution\.micro_batch_size=8"):
        memory_with(Others(0, ends=True)).fitting(UPDATE, 8, lambda size: size)


def test_a_batch_inside_an_attempt_that_all_make_is_given_up_with_it():
    others, tried = Others(), []
    memory = memory_with(others)

    def inner(size):
        tried.append(("inner", size))
        if size > 4:
            raise torch.OutOfMemoryError("injected")
        return size

    def outer(size):
        tried.append(("outer", size))
        return memory.fitting(PREPARATION, size, inner)

    assert memory.fitting(UPDATE, 8, outer) == 4
    assert tried == [("outer", 8), ("inner", 8), ("outer", 4), ("inner", 4)]
    assert others.told == [(torch.OutOfMemoryError, False)]


def test_the_passes_of_an_attempt_that_failed_are_not_counted(random_model):
    tokens_BL = torch.zeros(4, 6, dtype=torch.long)

    def attempt(size):
        random_model.hidden(tokens_BL[:size], None)
        if size > 2:
            raise torch.OutOfMemoryError("injected")

    random_model.memory.say = lambda text: None
    with random_model.meter.measure() as cost:
        random_model.memory.fitting(ROLLOUT, 4, attempt)
    assert cost.forwards == 2
