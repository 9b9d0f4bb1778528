"""What no method's result may depend on: micro-batches, shards, and how often it is computed."""

import copy
import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

from harness.registry import get_method

specification = importlib.util.spec_from_file_location("small_methods", Path(__file__).parents[1] / "small_methods.py")
small_methods = importlib.util.module_from_spec(specification)
specification.loader.exec_module(small_methods)


def test_small_options_are_those_of_registered_methods():
    assert set(small_methods.OPTIONS) <= set(small_methods.NAMES)


@pytest.fixture(params=small_methods.NAMES)
def method(request, random_model):
    random_model.keep_reference()
    return small_methods.small_method(request.param)


def seeded():
    return torch.Generator().manual_seed(11)


def prepare_seeded(method, scored, model, score):
    return method.prepare(scored, model, score, method.draw(scored, model, seeded()))


def losses(method, model, prepared):
    """Every part's loss, and the gradient of the first update."""
    model.predictor.zero_grad()
    values = [[method.loss(model, part)[0] for part in update.parts] for update in prepared.updates]
    torch.stack(values[0]).sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.predictor.parameters()])
    return torch.stack([torch.stack(update).sum().detach() for update in values]), gradient


def test_two_calls_with_the_same_generator_are_the_same(method, random_model, scored, score):
    first = losses(method, random_model, prepare_seeded(method, scored, random_model, score))
    second = losses(method, random_model, prepare_seeded(method, scored, random_model, score))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_micro_batches_add_up(method, random_model, scored, score):
    prepared = prepare_seeded(method, scored, random_model, score)
    whole, gradient = losses(method, random_model, prepared)
    random_model.predictor.zero_grad()
    pieces = [
        sum(method.loss(random_model, piece)[0] for part in update.parts for piece in part.split(5))
        for update in prepared.updates
    ]
    pieces[0].backward()
    summed = torch.cat([weight.grad.flatten() for weight in random_model.predictor.parameters()])
    torch.testing.assert_close(torch.stack(pieces).detach(), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(summed, gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("count", "conventions"), [(2, {"micro_batch_rows": 3, "accumulated_batches": 2}), (4, {})], ids=str
)
def test_shards_add_up_though_groups_lengths_and_paddings_differ(
    method, random_model, scored, score, shards, count, conventions
):
    lockstep, parts = shards(count)
    for whole_or_first in (scored, parts[0]):
        whole_or_first.rollout.completion_ids_BC[0, 4] = random_model.special.end_ids[0]
    scored, *parts = (dataclasses.replace(one, **conventions) for one in (scored, *parts))
    whole, gradient = losses(method, random_model, prepare_seeded(method, scored, random_model, score))
    prepared = [None] * count
    # A model is in one policy at a time, so every process has one of its own.
    models = [copy.deepcopy(random_model) for _ in range(count)]

    def prepare(index):
        prepared[index] = prepare_seeded(method, parts[index], models[index], score)

    lockstep.run(prepare)
    found = [losses(method, random_model, one) for one in prepared]
    torch.testing.assert_close(sum(loss for loss, _ in found), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sum(part for _, part in found), gradient, atol=1e-4, rtol=1e-3)


def test_the_first_ratio_is_1_where_there_is_one(method, random_model, scored, score):
    prepared = prepare_seeded(method, scored, random_model, score)
    for update in prepared.updates:
        for part in update.parts:
            _, values = method.loss(random_model, part)
            if "ratio" in values:
                torch.testing.assert_close(values["ratio"], torch.ones_like(values["ratio"]), atol=1e-4, rtol=0)
                assert not values["clip_low"].any()
                assert not values["clip_high"].any()


@pytest.mark.parametrize(
    ("name", "prepared_forwards", "loss_forwards"),
    [
        ("d1", 2 * 12, 2 * 12),
        ("agrpo", 0, 2 * 12),
        ("espo", 2 * 4 * 12, 2 * 4 * 12),
    ],
)
def test_forward_passes_are_rows_times_inputs_twice_with_a_reference(
    random_model, scored, score, name, prepared_forwards, loss_forwards
):
    method = small_methods.small_method(name)
    random_model.keep_reference()
    with random_model.meter.measure() as preparing:
        prepared = prepare_seeded(method, scored, random_model, score)
    assert (preparing.forwards, preparing.backward_flops) == (prepared_forwards, 0)
    with random_model.meter.measure() as forward:
        loss, _ = method.loss(random_model, prepared.updates[0].parts[0])
    assert (forward.forwards, forward.backward_flops) == (loss_forwards, 0)
    with random_model.meter.measure() as backward:
        loss.backward()
    # The reference policy has no backward pass; all others cost twice their forward pass.
    assert (backward.forwards, backward.forward_flops) == (0, 0)
    assert backward.backward_flops == forward.forward_flops


def test_the_end_token_s_embedding_learns(random_model, scored, score):
    cls = get_method("espo")
    method = cls(config=cls.Config(inner_updates=1, beta=0.0))
    scored.rollout.completion_ids_BC[:, -3:] = random_model.special.end_ids[0]
    (update,) = prepare_seeded(method, scored, random_model, score).updates
    method.loss(random_model, update.parts[0])[0].backward()
    embedding = random_model.predictor.transformer.get_input_embeddings().weight
    assert embedding.grad[random_model.special.end_ids[0]].abs().max() > 0
