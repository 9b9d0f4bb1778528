import dataclasses
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method
from harness.rollout import Prompts, Rollout

module = sys.modules[get_method("agrpo").__module__]
SAMPLED = Decoding(temperature=1.0)


def rollout_of(steps, *, num_steps, **fields):
    steps = torch.tensor(steps, dtype=torch.int16)
    recorded = {
        "prompts": Prompts(ids_BP=torch.zeros(len(steps), 1, dtype=torch.long), mask_BP=None),
        "completion_ids_BC": torch.arange(steps.numel()).view(steps.shape),
        "unmask_step_BC": steps,
        "logprob_BC": torch.full(steps.shape, -1.0),
        "entropy_BC": torch.ones(steps.shape),
        "num_steps_B": torch.full((len(steps),), num_steps, dtype=torch.int16),
        "num_steps": num_steps,
        "mask_id": 99,
    }
    return Rollout(**{**recorded, **fields})


def test_a_draw_shows_the_state_before_it_and_its_tokens_in_the_sequence():
    support = torch.arange(2 * 4 * 2, dtype=torch.int32).view(2, 4, 2)
    rollout = rollout_of([[1, 0, 1, 0], [0, 0, 1, 1]], num_steps=2, support_ids_BCk=support, temperature=0.6)
    rollout = dataclasses.replace(rollout, behaviour_logprob_BC=-torch.arange(8.0).view(2, 4))
    draw = module.make_draw(rollout, torch.tensor([1, 0]), torch.ones(2), torch.tensor([0.5, -0.5]), normaliser=3.0)
    assert draw.tokens_BL.tolist() == [[0, 99, 1, 99, 3], [0, 99, 99, 99, 99]]
    assert draw.position_Bn.tolist() == [[1, 3], [1, 2]]
    assert draw.target_Bn.tolist() == [[0, 2], [4, 5]]
    assert draw.old_logprob_Bn.tolist() == [[0.0, -2.0], [-4.0, -5.0]]
    assert draw.support_Bnk.tolist() == [[[0, 1], [4, 5]], [[8, 9], [10, 11]]]
    assert draw.temperature == 0.6


def draw_of(old, *, advantage=1.0, importance=1.0, revealed=(True, True)):
    return module.Draw(
        tokens_BL=torch.zeros(1, 3, dtype=torch.long),
        mask_BL=None,
        position_Bn=torch.tensor([[1, 2]]),
        target_Bn=torch.zeros(1, 2, dtype=torch.long),
        is_revealed_Bn=torch.tensor([revealed]),
        support_Bnk=None,
        old_logprob_Bn=torch.tensor([old], dtype=torch.float64),
        advantage_B=torch.tensor([advantage], dtype=torch.float64),
        importance_B=torch.tensor([importance], dtype=torch.float64),
        temperature=1.0,
        normaliser=4.0,
    )


def test_the_loss_sums_tokens_weighs_them_and_divides_by_the_normaliser():
    new = torch.tensor([[-1.0, -1.0 + torch.tensor(1.5).double().log()]], dtype=torch.float64)
    loss, clipped = module.draw_loss(
        new, torch.zeros(1, 2), draw_of([-1.0, -1.0], importance=3.0), module.AgrpoConfig()
    )
    assert float(loss) == pytest.approx(-3.0 * (1.0 + 1.2) / 4)
    assert clipped.high.tolist() == [[False, True]]


def test_the_gradient_of_the_kl_term_flows_through_estimate_and_ratio():
    new = torch.tensor([[-1.3, -0.7]], dtype=torch.float64, requires_grad=True)
    reference, old = -1.0, -1.1
    part = draw_of([old, old], advantage=0.0)
    kl = module.k3(new, torch.full((1, 2), reference, dtype=torch.float64))
    module.draw_loss(new, kl, part, module.AgrpoConfig(beta=0.5))[0].backward()

    def term(value):
        difference = reference - value
        return 0.5 * (difference.exp() - difference - 1) * (value - old).exp() / 4

    values = new.detach()
    numeric = (term(values + 1e-6) - term(values - 1e-6)) / 2e-6
    torch.testing.assert_close(new.grad, numeric, atol=1e-8, rtol=0)


def test_positions_that_the_step_did_not_reveal_count_nothing():
    new = torch.tensor([[-1.0, 700.0]], dtype=torch.float64, requires_grad=True)
    part = draw_of([-1.0, -5000.0], revealed=(True, False))
    loss, _ = module.draw_loss(new, torch.zeros(1, 2), part, module.AgrpoConfig(beta=0.1))
    loss.backward()
    assert loss.item() == pytest.approx(-1 / 4)
    assert new.grad.tolist() == [[-0.25, 0.0]]


def test_all_draws_are_parts_of_one_update_and_the_divisor_is_the_group_or_the_batch(random_model, scored, score):
    normalisers = {}
    for divisor in ("group", "batch"):
        method = module.Agrpo(config=module.AgrpoConfig(mc_samples=5, divisor=divisor))
        draws = method.draw(scored, random_model, torch.Generator().manual_seed(0))
        prepared = method.prepare(scored, random_model, score, draws)
        (update,) = prepared.updates
        assert len(update.parts) == 5
        assert prepared.chosen.step_BK.shape == (12, 5)
        normalisers[divisor] = {part.normaliser for part in update.parts}
    assert normalisers == {"group": {5 * 4}, "batch": {5 * 12}}


def test_a_tempered_rollout_needs_its_record(random_model, scored, score):
    rollout = dataclasses.replace(scored.rollout, temperature=0.6)
    method = module.Agrpo(config=module.AgrpoConfig(mc_samples=1))
    with pytest.raises(AssertionError):
        method.prepare(dataclasses.replace(scored, rollout=rollout), random_model, score, torch.zeros(12, 1))


def test_the_sampled_distribution_is_asked_for():
    assert module.Agrpo().needs(None, SAMPLED, 5).behaviour


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importance": "uniforms"}, "Did you mean 'uniform'"),
        ({"draws": "sobol"}, "method.draws 'sobol'.*independent, low-discrepancy"),
        ({"divisor": "rows"}, "batch, group"),
        ({"mc_samples": 0}, "method.mc_samples=0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        module.Agrpo(config=module.AgrpoConfig(**options)).check(SAMPLED)


def test_greedy_rollouts_are_refused():
    with pytest.raises(UserError, match=r"rollout\.temperature=0 is greedy"):
        module.Agrpo().check(Decoding(temperature=0.0))
    module.Agrpo().check(SAMPLED)
