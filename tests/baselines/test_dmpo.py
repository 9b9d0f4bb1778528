import dataclasses
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.weighted import mean_within, sample_size, softmax_within, step_size

module = sys.modules[get_method("dmpo").__module__]
E = math.e
REWARD = torch.tensor([1.0, 0.0, 0.5, 0.5], dtype=torch.float64)
LOG_RND = torch.tensor([0.0, 1.0, 0.3, -0.7], dtype=torch.float64)


def weights(**options):
    return module.group_weights(REWARD, LOG_RND, 2, module.DmpoConfig(**options))


def test_weights_are_the_softmax_of_the_tilted_policy_over_the_group():
    tilted = weights(alpha=0.5, coeff=1.0)
    assert tilted[:2].tolist() == pytest.approx([E**2 / (E**2 + E), E / (E**2 + E)])
    assert tilted[2:].tolist() == pytest.approx([E / (E + 1), 1 / (E + 1)])
    half = weights(alpha=0.5, coeff=0.5)
    assert half[:2].tolist() == pytest.approx([E / (E + E**0.5), E**0.5 / (E + E**0.5)])


def test_alpha_0_knows_the_rewards_alone_and_alpha_minus_1_no_softmax():
    assert weights(alpha=0.0)[:2].tolist() == pytest.approx([E / (E + 1), 1 / (E + 1)])
    assert weights(alpha=0.0)[2:].tolist() == [0.5, 0.5]
    assert torch.equal(weights(alpha=-1.0), REWARD)


def test_at_the_published_alpha_weights_are_one_hot_where_rewards_differ():
    assert weights(alpha=0.04)[0].item() == pytest.approx(1, abs=1e-10)


def test_the_effective_sample_size_is_that_of_equal_weights_and_of_one():
    assert sample_size(torch.tensor([0.25, 0.25, 0.25, 0.25]), 4).tolist() == [1.0] * 4
    assert sample_size(torch.tensor([1.0, 0.0, 0.5, 0.5]), 2).tolist() == [0.5, 0.5, 1.0, 1.0]


def test_a_step_is_shortened_until_the_sample_size_is_kept_and_only_where_it_must_be():
    score_B = torch.tensor([0.0, 9.0, 0.0, 0.1], dtype=torch.float64)
    step_B = step_size(score_B, 2, 0.8, 1.0)
    assert step_B[2:].tolist() == [1.0, 1.0]
    assert 0 < step_B[0].item() < 0.5
    assert sample_size(softmax_within(step_B * score_B, 2), 2)[:2].tolist() == pytest.approx([0.8, 0.8], abs=1e-9)
    assert step_size(score_B, 2, 0.0, 0.7).tolist() == [0.7] * 4
    assert weights(alpha=0.04, least_sample_size=0.9)[0].item() < 0.7


def test_means_are_taken_over_each_run_of_rows():
    assert mean_within(torch.tensor([1.0, 3.0, 5.0, 5.0]), 2).tolist() == [2.0, 2.0, 5.0, 5.0]


def small(**options):
    return module.Dmpo(config=module.DmpoConfig(**{"inner_updates": 1, "replicates": 2, "elbo_samples": 2, **options}))


def prepared_by(method, scored, model, score):
    return method.prepare(scored, model, score, method.draw(scored, model, torch.Generator().manual_seed(0)))


def test_pairs_of_inputs_mask_complements_and_rates_have_a_floor():
    seed_B = torch.arange(2000)
    paired = module.draw_masks(seed_B, 0, 4, 10, module.LOSS_DRAW, module.DmpoConfig())
    assert torch.equal(paired[:, :2], ~paired[:, 2:])
    assert paired[:, 0].float().mean().item() == pytest.approx(0.55, abs=0.02)
    free = module.draw_masks(seed_B, 0, 2, 10, module.LOSS_DRAW, module.DmpoConfig(antithetic=False, clamp=False))
    assert free[:, 0].float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(free[:, 0], ~free[:, 1])
    # With a rate that is uniform from 0, every number of masked tokens is equally likely.
    counts = torch.bincount(free.sum(2).flatten(), minlength=11) / 4000
    assert (counts - 1 / 11).abs().max() < 0.03


def test_text_alone_is_masked_where_that_is_asked_for(random_model, scored):
    scored.rollout.completion_ids_BC[:, 3] = random_model.special.end_ids[0]
    drawn, of_weights = small(mask_text_only=True).draw(scored, random_model, torch.Generator())
    assert not drawn[..., 4:].any()
    assert drawn[..., :4].any()
    assert of_weights[..., 4:].any()


def test_an_input_without_masks_adds_nothing():
    part_rows = torch.tensor([[[True, True], [False, False]]])
    logprob_BDC = torch.tensor([[[-1.0, -3.0], [-50.0, -50.0]]])
    assert module.mean_masked_logprob(logprob_BDC, part_rows).tolist() == [-1.0]


def test_equal_rewards_have_neither_weights_nor_gradient(random_model, scored, score):
    random_model.keep_reference()
    rewards = dataclasses.replace(scored.rewards, total_B=torch.full((12,), 0.1))
    method = small(alpha=0.3)
    prepared = prepared_by(method, dataclasses.replace(scored, rewards=rewards), random_model, score)
    assert (prepared.advantages == 0).all()
    method.loss(random_model, prepared.updates[0].parts[0])[0].backward()
    assert all((weight.grad == 0).all() for weight in random_model.predictor.parameters())


@pytest.mark.parametrize(
    ("options", "forwards"),
    [({"alpha": 0.5}, 48), ({"alpha": 0.0}, 0), ({"alpha": -1.0, "centring": "unbiased"}, 24), ({"alpha": -1.0}, 0)],
)
def test_passes_before_the_updates_are_those_that_the_weights_need(options, forwards, random_model, scored, score):
    random_model.keep_reference()
    method = small(**options)
    with random_model.meter.measure() as cost:
        prepared_by(method, scored, random_model, score)
    assert cost.forwards == forwards
    assert method.needs_reference == (options["alpha"] > 0)


def test_unbiased_centring_follows_the_policy_and_does_not_depend_on_micro_batches(random_model, scored, score):
    method = small(alpha=0.0, centring="unbiased", strength=0.5)
    (part,) = prepared_by(method, scored, random_model, score).updates[0].parts
    loss, values = method.loss(random_model, part)
    softmax_B = (part.advantage_B - values["weight"]) / 0.5
    assert softmax_B.sum().item() == pytest.approx(1, abs=1e-5)
    (piece,) = part.split(5)
    assert (piece.num_rows, piece.at_once) == (12, 5)
    torch.testing.assert_close(method.loss(random_model, piece)[0], loss, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        for weight in random_model.predictor.parameters():
            weight.mul_(1.1)
    assert not torch.allclose(method.loss(random_model, part)[1]["weight"], values["weight"])


def test_unbiased_centring_is_over_each_micro_batch_which_has_to_lie_in_one_process(random_model, scored, score):
    method = small(alpha=0.0, centring="unbiased")
    apart = dataclasses.replace(scored, micro_batch_rows=6)
    parts = prepared_by(method, apart, random_model, score).updates[0].parts
    assert [part.num_rows for part in parts] == [6, 6]
    assert [part.normaliser for part in parts] == [2.0, 2.0]
    with pytest.raises(UserError, match="the 5 rows of a micro-batch needs all of them in one process, which has 12"):
        prepared_by(method, dataclasses.replace(scored, micro_batch_rows=5), random_model, score)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_updates": 0}, "method.inner_updates=0 must be above 0"),
        ({"replicates": 3}, "method.replicates=3 must be even: method.antithetic pairs inputs"),
        ({"elbo_samples": 1}, "method.elbo_samples=1 must be even"),
        ({"elbo_samples": 0}, "method.elbo_samples=0 must be above 0"),
        ({"coeff": 0.0}, "method.coeff=0.0 must be above 0"),
        ({"coeff": 1.5}, "method.coeff=1.5 must lie between 0 and 1"),
        ({"least_sample_size": 2.0}, "method.least_sample_size=2.0 must lie between 0 and 1"),
        ({"alpha": -0.5}, "method.alpha=-0.5 must be 0 or above, or -1 for the reward itself"),
        ({"centring": "negativ"}, "Did you mean 'negative'"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(UserError, match=message) as caught:
        small(**options).check(Decoding())
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("options", [{}, {"antithetic": False, "replicates": 3}, {"alpha": -1.0}, {"alpha": 0.0}])
def test_good_options_are_accepted(options):
    small(**options).check(Decoding())
