"""What is measured and its floor: the same passes, and the account beside them."""

import dataclasses

import pytest
import torch

from harness.bench import timing
from harness.bench.growth import measure_growth
from harness.bench.rollouts import KINDS, bare_passes, decoding_of, measure_rollouts, passes_per_block
from harness.bench.shapes import SHAPES, make_model
from harness.bench.startup import measure_startup
from harness.bench.timing import Measurement
from harness.bench.updates import bare_update, measure_updates, prepare, update
from harness.diffusion.sampler import generate
from harness.models import flops
from harness.models.attention import Attention

SHAPE = dataclasses.replace(SHAPES["tiny"], batch=2, block=8, completion=16, steps=8)


@pytest.fixture(scope="module")
def made():
    return make_model(SHAPE, "cpu")


def spent(model, function):
    with model.meter.measure() as cost:
        function()
    return cost


@pytest.mark.parametrize(
    ("kind", "widths"), [("exact", [33] * 4), ("prefix", [33, 16, 16, 16]), ("dual", [33, 8, 8, 8])]
)
def test_the_floor_of_a_rollout_makes_its_passes_with_the_head_on_the_whole_block(made, kind, widths):
    model, prompts = made
    decoding = dataclasses.replace(decoding_of(SHAPE, 0.0), **KINDS[kind])
    rollout = generate(model, prompts, decoding, torch.arange(2))
    passes = passes_per_block(rollout, decoding)
    assert passes == [4, 4]
    floor = spent(model, lambda: bare_passes(model, prompts, decoding, [4, 0]))
    trunk = sum(flops.forward(model.shape, rows=2, queries=width, keys=33, head_positions=16) for width in widths)
    assert (floor.forwards, floor.flops) == (8, trunk)
    floor = spent(model, lambda: bare_passes(model, prompts, decoding, passes))
    unmasked = 2 * 2 * (2 + 4 + 6)
    assert floor.flops == rollout.flops + flops.head(model.shape, unmasked)


def test_with_a_threshold_a_block_takes_the_passes_of_its_slowest_row(made):
    model, prompts = made
    decoding = dataclasses.replace(decoding_of(SHAPE, 0.9), threshold=0.0104)
    rollout = generate(model, prompts, decoding, torch.arange(2))
    assert sum(passes_per_block(rollout, decoding)) == rollout.forwards_B.max() < 16


def test_every_kind_is_measured_and_random_weights_are_never_sure(made):
    found = list(measure_rollouts(*made, SHAPE, temperature=0.9, runs=2, beside=None))
    assert [(row.name, row.passes, row.amount, row.agreement) for row in found] == [
        ("exact", 8, 32.0, None),
        ("prefix", 8, 32.0, None),
        ("dual", 8, 32.0, None),
        ("threshold", 16, 32.0, None),
    ]
    assert all(len(row.seconds) == len(row.floor_seconds) == 2 for row in found)


def test_other_code_is_compared_with_ours_and_token_by_token_where_nothing_is_drawn(made):
    class Other:
        title = "Other"

        def has(self, kind):
            return kind == "dual"

        def seconds(self, kind, decoding):
            assert decoding.cache == "dual"
            completion = generate(*made, decoding, torch.arange(2)).completion_ids_BC.tolist()
            completion[0][3] = -1
            self.last = type("Answer", (), {"passes": 5, "completion": completion})
            return 3.5

    for temperature, agreement in ((0.0, 31 / 32), (0.5, None)):
        rows = list(measure_rollouts(*made, SHAPE, temperature=temperature, runs=1, beside=Other()))
        assert [row.name for row in rows] == ["exact", "prefix", "dual", "dual, Other", "threshold"]
        assert (rows[3].seconds, rows[3].passes, rows[3].agreement) == ((3.5,), 5, agreement)
        assert (rows[3].floor, rows[3].floor_seconds) == ("our dual", rows[2].seconds)


def test_the_floor_of_an_update_is_its_forward_and_backward_passes():
    model, prompts = make_model(SHAPE, "cpu")
    (row,) = measure_updates(model, prompts, SHAPE, runs=1)
    assert (row.name, row.passes, row.amount) == ("egspo-sa", 4, 4.0)
    method, prepared = prepare(SHAPE, model, prompts, 2)
    ours = spent(model, lambda: update(method, model, prepared, 1))
    assert spent(model, lambda: bare_update(model, prepared, 1)) == ours
    assert ours.backward_flops > 0


@pytest.mark.slow
def test_growth_is_by_the_account_which_agrees_with_torch(made):
    by_blocks, _ = make_model(SHAPE, "cpu", Attention(block_length=SHAPE.block))
    rows = list(measure_growth(made[0], by_blocks, SHAPE, runs=1))
    assert [(row.kind, row.doubled) for row in rows] == [
        (kind, doubled) for kind in ("exact", "prefix", "dual", "block-causal") for doubled in ("rows", "tokens")
    ]
    assert all(row.flops == 2 for row in rows[::2])
    assert all(2 < row.flops < 4 for row in rows[1:6:2])
    # The prompt is stored once, however long the completion is.
    assert 1.5 < rows[7].flops < 2
    assert all(row.counted == pytest.approx(1, abs=0.01) for row in rows)
    assert rows[0].ratio == rows[0].seconds / 2


def test_starting_is_beside_an_empty_python():
    rows = list(measure_startup(runs=1))
    assert [(row.name, row.floor) for row in rows] == [
        ("harness --help", "python -c ''"),
        ("import harness", "python -c ''"),
    ]


def test_contenders_take_turns():
    order = []

    def contender(name):
        return lambda: order.append(name) or float(len(order))

    assert timing.in_turn({"a": contender("a"), "b": contender("b")}, 2) == {"a": (1.0, 3.0), "b": (2.0, 4.0)}
    assert order == ["a", "b", "a", "b"]


def test_a_ratio_is_that_of_runs_beside_each_other():
    row = Measurement(
        name="x", seconds=(2.0, 8.0, 4.0), floor="y", floor_seconds=(1.0, 6.0, 1.0), unit="tokens", amount=8.0
    )
    assert (row.typical, row.typical_floor, row.ratio) == (4.0, 1.0, 0.5)
