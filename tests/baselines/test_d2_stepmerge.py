import dataclasses
import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.states import state_tokens
from harness.rl.token_level import token_terms

module = sys.modules[get_method("d2-stepmerge").__module__]


def prepared(scored, model, score, seed=0, **options):
    method = module.D2StepMerge(config=module.D2StepMergeConfig(**{"beta": 0.0, "inner_updates": 1, **options}))
    draws = method.draw(scored, model, torch.Generator().manual_seed(seed))
    return method, method.prepare(scored, model, score, draws)


def test_steps_are_cut_at_the_whole_part_of_k_t_over_n():
    assert module.cuts(8, 3).tolist() == [0, 2, 5]
    assert module.cuts(8, 8).tolist() == list(range(8))
    assert module.cuts(5, 1).tolist() == [0]


def test_a_segment_masks_what_comes_later_and_asks_for_its_own_counted_tokens():
    steps = torch.tensor([[0, 3, 1, 4, 6]], dtype=torch.int16)
    counted = torch.tensor([[True, True, True, False, True]])
    is_masked, is_target = module.segment_states(steps, counted, torch.tensor([0, 2]), 5)
    # The last token is filler, which no step has revealed: it is masked everywhere and nobody's.
    assert is_masked.tolist() == [[[True] * 5, [False, True, False, True, True]]]
    assert is_target.tolist() == [[[True, False, True, False, False], [False, True, False, False, False]]]


def test_every_counted_token_is_asked_for_once_and_a_segment_without_any_is_no_state(random_model, scored, score):
    rollout = scored.rollout
    rollout.completion_ids_BC[3, 4] = random_model.special.end_ids[0]
    _, found = prepared(scored, random_model, score, segments=4)
    (part,) = found.updates[0].parts
    place_N, token_N = part.counted_Nn.nonzero(as_tuple=True)
    seen_BC = torch.zeros(rollout.completion_ids_BC.shape, dtype=torch.long)
    seen_BC.index_put_((part.row_N[place_N], part.position_Nn[place_N, token_N]), torch.tensor(1), accumulate=True)
    counted_BC = token_terms(scored, random_model, rollout.logprob_BC, scored.rewards.total_B)["counted_Nn"]
    assert torch.equal(seen_BC, counted_BC.long())
    assert part.counted_Nn.any(1).all()
    assert part.normaliser == int(counted_BC.sum()) < rollout.completion_ids_BC.numel()
    # The second block, steps 3 to 5, comes after the end of row 3: its segments from cuts 3 and 4 have no tokens.
    assert found.chosen.step_BK[3].tolist() == [0, 1, -1, -1]


def test_with_a_segment_for_every_step_the_old_log_probabilities_are_those_of_the_rollout(random_model, scored, score):
    _, found = prepared(scored, random_model, score, segments=6, p_mask_prompt=0.0)
    (part,) = found.updates[0].parts
    recorded = scored.rollout.logprob_BC[part.row_N].gather(1, part.position_Nn)
    torch.testing.assert_close(part.old_logprob_Nn[part.counted_Nn], recorded[part.counted_Nn], atol=1e-4, rtol=0)


def test_with_one_segment_inputs_and_loss_are_those_of_d1(random_model, scored, score):
    method, found = prepared(scored, random_model, score, segments=1, p_mask_prompt=0.4)
    d1 = get_method("d1")(config=get_method("d1").Config(inner_updates=1, p_mask_prompt=0.4, beta=0.0))
    draws = d1.draw(scored, random_model, torch.Generator().manual_seed(0))
    theirs = d1.prepare(scored, random_model, score, draws).updates[0].parts[0]
    (ours,) = found.updates[0].parts
    assert torch.equal(state_tokens(ours), theirs.tokens_BDL[:, 0])
    moved = {"old_logprob_Nn": ours.old_logprob_Nn - 0.3}
    theirs = dataclasses.replace(theirs, old_logprob_Nn=theirs.old_logprob_Nn - 0.3)
    mine, other = method.loss(random_model, dataclasses.replace(ours, **moved)), d1.loss(random_model, theirs)
    torch.testing.assert_close(mine[0], other[0], atol=1e-5, rtol=0)
    assert float(mine[1]["ratio"].mean()) == pytest.approx(math.exp(0.3), abs=1e-3)


def test_the_segments_of_a_row_share_its_prompt_mask_and_updates_do_not(random_model, scored, score):
    _, found = prepared(scored, random_model, score, segments=3, inner_updates=2, p_mask_prompt=0.5)
    first, second = (update.parts[0].sequences.tokens_BL for update in found.updates)
    assert not torch.equal(first, second)
    assert (first[:, -12:] == scored.rollout.completion_ids_BC).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segments": 0}, "method.segments=0"),
        ({"inner_updates": 0}, "method.inner_updates=0"),
        ({"p_mask_prompt": 1.5}, "method.p_mask_prompt=1.5"),
        ({"segments": 9}, r"method\.segments=9 is more than rollout\.num_steps=8.*set it to 8 or less"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        module.D2StepMerge(config=module.D2StepMergeConfig(**{"segments": 8, **options})).check(Decoding(num_steps=8))
    module.D2StepMerge(config=module.D2StepMergeConfig(segments=8)).check(Decoding(num_steps=8))
