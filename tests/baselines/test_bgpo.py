import dataclasses
import itertools
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion import elbo
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.sequence_level import new_score
from harness.rollout import Rewards

module = sys.modules[get_method("bgpo").__module__]


def bgpo(**options):
    return module.Bgpo(config=module.BgpoConfig(**options))


def seeded():
    return torch.Generator().manual_seed(0)


def part_of(advantage):
    rows = len(advantage)
    return module.WeighedInputs(
        tokens_BDL=torch.zeros(rows, 1, 5, dtype=torch.long),
        mask_BL=None,
        target_BC=torch.zeros(rows, 4, dtype=torch.long),
        weight_BDC=torch.zeros(rows, 1, 4),
        old_score_BS=torch.zeros(rows, 1),
        advantage_B=torch.tensor(advantage),
        length_B=torch.full((rows,), 4.0),
        normaliser=rows,
        share_B=torch.ones(rows),
    )


@pytest.mark.parametrize(
    ("moved", "advantage", "term", "gradient"),
    [
        (0.0, 1.0, -1.0, -1.0),
        (0.5, 1.0, -1.2, 0.0),
        (-0.5, 1.0, -0.5, -1.0),
        (-1.5, 1.0, 0.5, -1.0),
        (0.5, -1.0, math.exp(0.5), math.exp(0.5)),
        (-1.5, -1.0, 0.8, 0.0),
        (2.0, -1.0, 3.0, 0.0),
        (-0.5, 0.0, 0.0, 0.0),
        (200.0, 1.0, -1.2, 0.0),
    ],
)
def test_a_term_bounds_the_ratio_from_below_or_from_above_by_the_sign_of_the_advantage(
    moved, advantage, term, gradient
):
    new = torch.tensor([[moved]], requires_grad=True)
    found, _ = module.clipped_bound(new, part_of([advantage]), module.BgpoConfig())
    found.sum().backward()
    assert float(found.detach()) == pytest.approx(term)
    assert float(new.grad) == pytest.approx(gradient)


def test_active_bounds_are_told_apart():
    new = torch.tensor([[0.5], [-0.5], [2.0], [-0.5], [0.1]])
    _, values = module.clipped_bound(new, part_of([1.0, -1.0, -1.0, 1.0, 1.0]), module.BgpoConfig())
    assert values["clip_high"].flatten().tolist() == [True, False, False, False, False]
    assert values["clip_low"].flatten().tolist() == [False, True, False, False, False]
    assert values["clip_dual"].flatten().tolist() == [False, False, True, False, False]
    expected = [1.5, math.exp(-0.5), math.exp(2.0), 0.5, 1.1]
    assert values["ratio"].flatten().tolist() == pytest.approx(expected)


def test_counts_of_a_run_go_evenly_round_1_to_n_and_never_mask_nothing():
    start = torch.tensor([[0.0, 0.99], [0.5, 0.0]]).double()
    counts = elbo.wrapped_counts(torch.tensor([8, 4]), start, 4)
    assert counts.tolist() == [[1, 3, 5, 7, 8, 2, 4, 6], [3, 4, 1, 2, 1, 2, 3, 4]]
    assert elbo.wrapped_counts(torch.tensor([1]), start[:1], 3).tolist() == [[1] * 6]
    for length, first in itertools.product((5, 16), (1, 3, 5)):
        one = torch.tensor([[(first - 0.5) / length]]).double()
        found = elbo.wrapped_counts(torch.tensor([length]), one, length)
        assert found[0].tolist() == elbo.likelihood_counts(length, length, first).tolist()


def test_shares_of_rows_by_their_tokens_or_all_alike(scored):
    response_BC = torch.arange(12)[None] < torch.tensor([12, 6, 3, 3] * 3)[:, None]
    by_tokens = module.row_shares(response_BC, scored, "token-mean")
    assert by_tokens[:4].tolist() == pytest.approx([12 / 72, 6 / 72, 3 / 72, 3 / 72])
    sums = module.row_shares(response_BC, scored, "seq-mean-token-sum")
    assert sums[:4].tolist() == pytest.approx([1.0, 0.5, 0.25, 0.25])
    assert module.row_shares(response_BC, scored, "seq-mean-token-mean").tolist() == pytest.approx([1 / 12] * 12)
    apart = dataclasses.replace(scored, micro_batch_rows=2)
    by_batch = module.row_shares(response_BC, apart, "token-mean")
    assert by_batch[:4].tolist() == pytest.approx([12 / 18 / 6, 6 / 18 / 6, 3 / 6 / 6, 3 / 6 / 6])


@pytest.mark.parametrize("response", ["all", "until_end"])
def test_a_draw_s_score_is_over_its_masked_share_and_over_all_tokens(random_model, scored, score, response):
    scored.rollout.completion_ids_BC[:, 3] = random_model.special.end_ids[0]
    method = bgpo(mc_samples=4, run_length=2, response=response)
    prepared = method.prepare(scored, random_model, score, method.draw(scored, random_model, seeded()))
    (part,) = prepared.updates[0].parts
    is_masked_BMC = part.tokens_BDL[:, :, -12:] == random_model.special.mask_id
    is_response_BC = module.response(scored, random_model, method.config)
    length_B11 = is_response_BC.sum(1)[:, None, None]
    count_BM1 = is_masked_BMC.sum(2, keepdim=True)
    assert (count_BM1 >= 1).all()
    assert not (is_masked_BMC & ~is_response_BC[:, None]).any()
    torch.testing.assert_close(part.weight_BDC, is_masked_BMC * length_B11 / count_BM1 / 12)
    assert part.old_score_BS.shape == (12, 4)


def test_a_row_that_is_cut_scores_as_if_it_were_shorter(random_model, scored, score):
    scored.rollout.completion_ids_BC[0, :6] = 20
    scored.rollout.completion_ids_BC[0, 6] = random_model.special.end_ids[0]
    method = bgpo(mc_samples=2, run_length=2, response="until_end")
    prepared = method.prepare(scored, random_model, score, method.draw(scored, random_model, seeded()))
    row = prepared.updates[0].parts[0].rows(slice(0, 1))
    shorter = dataclasses.replace(
        row,
        tokens_BDL=row.tokens_BDL[:, :, :-5],
        mask_BL=row.mask_BL[:, :-5],
        target_BC=row.target_BC[:, :-5],
        weight_BDC=row.weight_BDC[:, :, :-5],
    )
    with torch.no_grad():
        torch.testing.assert_close(new_score(random_model, row), new_score(random_model, shorter), atol=1e-5, rtol=0)
        whole = dataclasses.replace(row, mask_BL=row.mask_BL | (torch.arange(row.mask_BL.shape[1]) > 5))
        assert not torch.allclose(new_score(random_model, row), new_score(random_model, whole), atol=1e-3)


def test_the_score_is_the_elbo_over_the_length_on_average_over_starts_and_masks():
    masks = torch.tensor(list(itertools.product((False, True), repeat=3)))
    logprob_NC = -torch.rand(8, 3, dtype=torch.float64, generator=seeded())
    masked_N, size_N = (logprob_NC * masks).sum(1), masks.sum(1)
    # The ELBO: counts 1..C alike, of each the mean over its masks of C / count times the masked log-probabilities.
    exact = sum(masked_N[size_N == count].sum() / math.comb(3, count) * 3 / count / 3 for count in (1, 2, 3))
    starts = torch.tensor([[0.1], [0.5], [0.9]]).double()
    counts = elbo.wrapped_counts(torch.full((3,), 3), starts, 1).flatten().tolist()
    mean = sum(masked_N[size_N == count].mean() / (count / 3) / 3 for count in counts) / len(counts)
    assert 3 * float(mean) == pytest.approx(float(exact), abs=1e-12)


def test_advantages_are_over_the_group_s_deviation_and_exactly_0_where_rewards_are_equal():
    rewards = torch.tensor([0.1, 0.1, 0.1, 1.0, 0.0, 0.5], dtype=torch.float64)
    assert module.advantages(rewards, 3, module.BgpoConfig()).tolist() == pytest.approx(
        [0, 0, 0, 1 / 1.000002, -1 / 1.000002, 0]
    )
    assert module.advantages(rewards, 3, module.BgpoConfig())[:3].tolist() == [0.0] * 3
    plain = module.advantages(rewards, 3, module.BgpoConfig(scale_rewards=False))
    assert plain.tolist() == pytest.approx([0, 0, 0, 0.5, -0.5, 0])


def test_without_any_variance_the_gradient_is_0(random_model, scored, score):
    same = dataclasses.replace(scored, rewards=Rewards(total_B=torch.full((12,), 0.3), parts={}))
    method = bgpo(mc_samples=2, run_length=2)
    (part,) = method.prepare(same, random_model, score, method.draw(same, random_model, seeded())).updates[0].parts
    loss, _ = method.loss(random_model, part)
    loss.backward()
    assert all((weight.grad == 0).all() for weight in random_model.predictor.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_length": 3}, r"method\.run_length=3 does not divide method\.mc_samples=16"),
        ({"run_length": 0}, r"method\.run_length=0"),
        ({"mc_samples": 0}, r"method\.mc_samples=0"),
        ({"inner_updates": 0}, r"method\.inner_updates=0"),
        ({"clip_dual": 1.0}, r"method\.clip_dual=1\.0"),
        ({"aggregation": "sum"}, r"Unknown method\.aggregation 'sum'.*token-mean"),
        ({"response": "cut"}, r"Unknown method\.response 'cut'. Choices: all, until_end"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    bgpo().check(Decoding())
    with pytest.raises(UserError, match=message):
        bgpo(**options).check(Decoding())
