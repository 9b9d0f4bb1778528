"""What no method's result may depend on: micro-batches, shards, and how often it is computed."""

import pytest
import torch

from harness.registry import get_method

METHODS = {
    "egspo": {"num_selected": 3, "slots_per_update": 3},
    "egspo-sa": {"num_selected": 2, "baseline": "step"},
    "d1": {"inner_updates": 2, "p_mask_prompt": 0.4, "beta": 0.1},
    "agrpo": {"mc_samples": 3, "importance": "entropy", "beta": 0.1},
    "espo": {"inner_updates": 2, "mc_samples": 2, "beta": 0.1},
}


@pytest.fixture(params=METHODS)
def method(request, random_model):
    cls = get_method(request.param)
    random_model.keep_reference()
    return cls(config=cls.Config(**METHODS[request.param]))


def seeded():
    return torch.Generator().manual_seed(11)


def losses(method, model, prepared):
    """Every part's loss, and the gradient of the first update."""
    model.predictor.zero_grad()
    values = [[method.loss(model, part).loss for part in update.parts] for update in prepared.updates]
    torch.stack(values[0]).sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.predictor.parameters()])
    return torch.stack([torch.stack(update).sum().detach() for update in values]), gradient


def test_two_calls_with_the_same_generator_are_the_same(method, random_model, scored, score):
    first = losses(method, random_model, method.prepare(scored, random_model, score, seeded()))
    second = losses(method, random_model, method.prepare(scored, random_model, score, seeded()))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_micro_batches_add_up(method, random_model, scored, score):
    prepared = method.prepare(scored, random_model, score, seeded())
    whole, gradient = losses(method, random_model, prepared)
    random_model.predictor.zero_grad()
    pieces = [
        sum(method.loss(random_model, piece).loss for part in update.parts for piece in part.split(5))
        for update in prepared.updates
    ]
    pieces[0].backward()
    summed = torch.cat([weight.grad.flatten() for weight in random_model.predictor.parameters()])
    torch.testing.assert_close(torch.stack(pieces).detach(), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(summed, gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("count", [2, 4])
def test_shards_add_up_though_groups_and_paddings_differ(method, random_model, scored, score, shards, count):
    whole, gradient = losses(method, random_model, method.prepare(scored, random_model, score, seeded()))
    lockstep, parts = shards(count)
    prepared = [None] * count

    def prepare(index):
        prepared[index] = method.prepare(parts[index], random_model, score, seeded())

    lockstep.run(prepare)
    found = [losses(method, random_model, one) for one in prepared]
    torch.testing.assert_close(sum(loss for loss, _ in found), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sum(part for _, part in found), gradient, atol=1e-4, rtol=1e-3)


def test_the_first_ratio_is_1_and_a_second_draw_differs(method, random_model, scored, score):
    prepared = method.prepare(scored, random_model, score, seeded())
    for update in prepared.updates:
        for part in update.parts:
            output = method.loss(random_model, part)
            torch.testing.assert_close(output.ratio_N, torch.ones_like(output.ratio_N), atol=1e-4, rtol=0)
            assert not output.clipped_low_N.any()
            assert not output.clipped_high_N.any()
    assert len(prepared.updates) == method.updates_per_rollout()


def test_forwards_and_flops_are_counted(method, random_model, scored, score):
    prepared = method.prepare(scored, random_model, score, seeded())
    for update in prepared.updates:
        for part in update.parts:
            output = method.loss(random_model, part)
            assert output.forwards > 0
            assert output.flops > 0
    assert (prepared.forwards > 0) == (prepared.flops > 0)


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
    cls = get_method(name)
    method = cls(config=cls.Config(**METHODS[name]))
    random_model.keep_reference()
    prepared = method.prepare(scored, random_model, score, seeded())
    assert prepared.forwards == prepared_forwards
    assert method.loss(random_model, prepared.updates[0].parts[0]).forwards == loss_forwards


def test_the_end_token_s_embedding_learns(random_model, scored, score):
    cls = get_method("espo")
    method = cls(config=cls.Config(inner_updates=1, beta=0.0))
    scored.rollout.completion_ids_BC[:, -3:] = random_model.special.end_ids[0]
    (update,) = method.prepare(scored, random_model, score, seeded()).updates
    method.loss(random_model, update.parts[0]).loss.backward()
    embedding = random_model.predictor.transformer.get_input_embeddings().weight
    assert embedding.grad[random_model.special.end_ids[0]].abs().max() > 0
