"""The loop of masked fine-tuning: it learns, and neither a stop, nor micro-batches, nor sharing changes what."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from harness.config.tree import Execution
from harness.distributed.signals import Signals
from harness.errors import Interruption, UserError
from harness.finetuning.batches import EncodedPair, demonstration_batches, shuffled_batches
from harness.finetuning.train import FineTuner, SftConfig
from harness.models.tiny import fresh_tiny
from harness.records.jsonl import read_lines
from harness.registry import get_task

LINES = (("12+3=", "15"), ("7*8=", "56"), ("what?", "nothing at all"), ("a", "b"))
CONFIG = SftConfig(steps=9, batch_size=8, learning_rate=1e-3, warmup_steps=2)


def tuner(folder, config=CONFIG, signals=None, **execution):
    folder.mkdir(exist_ok=True)
    return FineTuner(fresh_tiny(0), config, Execution(**execution), folder=folder, signals=signals)


def batches(one):
    encode = one.model.tokenizer.encode
    pairs = [EncodedPair(prompt_ids=encode(prompt), completion_ids=encode(answer)) for prompt, answer in LINES]
    return shuffled_batches(pairs, one.config.batch_size, one.config.seed)


def weights(one):
    return torch.cat([weight.detach().flatten() for weight in one.model.network.parameters()])


def trained(one):
    one.run(batches(one))
    return weights(one)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The loss of a training that nothing stopped, and its weights."""
    one = tuner(tmp_path_factory.mktemp("whole"))
    return one.run(batches(one)), weights(one)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def stopped_after(folder, step, **execution):
    """Trains until a signal comes in during that step."""
    signals = Signals()
    one = tuner(folder, signals=signals, **execution)

    def on_step(done, loss):
        signals.received = 15 if done == step else 0

    with pytest.raises(Interruption):
        one.run(batches(one), on_step)


def test_the_loss_on_four_lines_falls_and_the_same_seed_gives_the_same_weights(tmp_path):
    config = SftConfig(steps=40, batch_size=4, learning_rate=3e-3, warmup_steps=6)
    found, losses = [], []
    for number, seed in enumerate((0, 0, 1)):
        one = tuner(tmp_path / str(number), dataclasses.replace(config, seed=seed))
        seen = []
        one.run(batches(one), lambda step, loss, seen=seen: seen.append(loss))
        found.append(weights(one))
        losses.append(seen)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 40
    assert sum(losses[0][-10:]) < 0.5 * sum(losses[0][:10])


def test_the_result_is_the_mean_loss_of_the_last_hundred_steps(tmp_path):
    one, seen = tuner(tmp_path / "a", dataclasses.replace(CONFIG, steps=103, batch_size=2)), []
    assert one.run(batches(one), lambda step, loss: seen.append(loss)) == sum(seen[3:]) / 100


@pytest.mark.parametrize("size", [1, 3, 8])
def test_micro_batches_give_the_weights_of_the_whole_batch(tmp_path, undisturbed, size):
    (_, whole), parts = undisturbed, trained(tuner(tmp_path / "parts", micro_batch_size=size))
    assert (whole - weights(tuner(tmp_path / "untrained"))).abs().max() > 1e-3
    assert (parts - whole).abs().max() < 1e-6


@pytest.mark.parametrize("step", [1, 5, 9])
def test_what_a_signal_stopped_goes_on_to_the_same_bits_and_the_same_loss(tmp_path, undisturbed, step):
    loss, whole = undisturbed
    stopped_after(tmp_path / "stopped", step)
    assert checkpoints(tmp_path / "stopped") == [f"update-{step:06d}"]
    resumed, steps = tuner(tmp_path / "stopped"), []
    assert resumed.run(batches(resumed), lambda done, loss: steps.append(done)) == loss
    assert steps == list(range(step + 1, 10))
    assert weights(resumed).equal(whole)


def test_demonstrations_go_on_where_they_were(tmp_path):
    def demonstrations(one):
        return demonstration_batches(one.model.tokenizer.encode, [get_task("sudoku")()], one.config.batch_size, 0)

    whole, first, second = (tuner(tmp_path / name, checkpoint_every=4) for name in ("whole", "cut", "cut"))
    whole.run(demonstrations(whole))
    first.run(itertools.islice(demonstrations(first), 4))  # the fifth batch never comes, as after a kill
    second.run(demonstrations(second))
    assert weights(second).equal(weights(whole))


def test_two_checkpoints_stay_and_where_the_newest_is_torn_the_older_is_taken(tmp_path, undisturbed):
    stopped_after(tmp_path / "a", 7, checkpoint_every=2)
    assert checkpoints(tmp_path / "a") == ["update-000006", "update-000007"]
    torn = tmp_path / "a" / "checkpoints" / "update-000007" / "weights.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    one, steps = tuner(tmp_path / "a"), []
    one.run(batches(one), lambda done, loss: steps.append(done))
    assert steps == [7, 8, 9]
    assert weights(one).equal(undisturbed[1])
    assert [line["step"] for line in read_lines(tmp_path / "a" / "metrics.jsonl")] == list(range(1, 10))


def test_checkpoints_come_by_minutes_too(tmp_path):
    trained(tuner(tmp_path / "never", checkpoint_minutes=1e6))
    trained(tuner(tmp_path / "often", checkpoint_minutes=1e-9))
    assert not (tmp_path / "never" / "checkpoints").exists()
    assert checkpoints(tmp_path / "often") == ["update-000008", "update-000009"]


def test_a_gradient_that_is_not_finite_ends_the_training(tmp_path):
    one = tuner(tmp_path / "a")
    with torch.no_grad():
        one.model.predictor.transformer.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match=r"the gradient of step 1 is not finite; lower --learning-rate 0\.001"):
        one.run(batches(one))
