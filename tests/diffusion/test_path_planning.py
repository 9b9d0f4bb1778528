"""P2: written tokens are masked again where others are surer."""

import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.diffusion.samplers.path_planning import masks_left
from harness.errors import UserError
from harness.models.tiny import END_ID, MASK_ID
from harness.planning.rollouts import rollout_flops
from harness.registry import get_method
from harness.rollout import RolloutNeeds

PROMPTS = ["12+3=", "7*8=", "hello world:", "a", "0000111122223333", "x"]
P2 = Decoding(completion_length=12, block_length=6, num_steps=8, remasking="p2", eos_policy="run")


def rollout_of(model, decoding, rows=slice(None), **options):
    seed_B = torch.arange(100, 100 + len(PROMPTS))
    return generate(model, model.encode_prompts(PROMPTS[rows]), decoding, seed_B[rows], **options)


def by_hand(model, prompt):
    """One row's completion, the step that wrote each token, and how many written tokens were masked again."""
    tokens, written_at, masked_again = [MASK_ID] * 12, [-1] * 12, 0
    prompt_ids, step = model.tokenizer.encode(prompt), 0
    for block in (range(6), range(6, 12)):
        for left in (4, 3, 1, 0):
            with torch.no_grad():
                logits_CV = model.completion_logits(torch.tensor([[*prompt_ids, *tokens]]), None, 12)[0]
            chance_CV = logits_CV.softmax(-1)
            chance_CV[:, MASK_ID] = 0.0
            sure_C, proposed_C = (values.tolist() for values in chance_CV.max(-1))
            again = sorted(block, key=lambda place: sure_C[place])[:left]
            was_masked = [tokens[place] == MASK_ID for place in range(12)]
            masked_again += sum(not was_masked[place] for place in again)
            for place in block:
                if place in again:
                    tokens[place] = MASK_ID
                elif was_masked[place]:
                    tokens[place], written_at[place] = proposed_C[place], step
            step += 1
    return tokens, written_at, masked_again


def test_eight_steps_on_two_blocks_write_what_a_loop_over_positions_writes(random_model):
    rollout, masked_again = rollout_of(random_model, P2), 0
    for row, prompt in enumerate(PROMPTS):
        tokens, written_at, again = by_hand(random_model, prompt)
        assert rollout.completion_ids_BC[row].tolist() == tokens
        assert rollout.unmask_step_BC[row].tolist() == written_at
        masked_again += again
    assert masked_again > 0
    assert rollout.num_steps_B.tolist() == rollout.forwards_B.tolist() == [8] * len(PROMPTS)


@pytest.mark.parametrize(("length", "steps", "left"), [(6, 4, [4, 3, 1, 0]), (16, 5, [12, 9, 6, 3, 0]), (5, 1, [0])])
def test_the_masks_that_a_step_leaves_are_the_whole_part_of_what_is_to_come(length, steps, left):
    assert masks_left(length, steps) == left


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_row_alone_is_completed_as_in_a_batch(random_model, temperature):
    decoding = dataclasses.replace(P2, temperature=temperature)
    together = rollout_of(random_model, decoding, needs=RolloutNeeds(behaviour=True))
    assert not (together.completion_ids_BC == MASK_ID).any()
    for row in range(len(PROMPTS)):
        alone = rollout_of(random_model, decoding, slice(row, row + 1))
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
        assert torch.equal(alone.unmask_step_BC[0], together.unmask_step_BC[row])
        torch.testing.assert_close(alone.logprob_BC[0], together.logprob_BC[row], atol=1e-4, rtol=0)


def test_rows_whose_block_is_all_end_tokens_leave(random_model):
    with torch.no_grad():
        random_model.predictor.transformer.lm_head.weight[END_ID] += 50 * random_model.hidden(
            torch.full((1, 4), MASK_ID), None
        )[0].mean(0)
    rollout = rollout_of(random_model, dataclasses.replace(P2, eos_policy="stop"))
    left = (rollout.completion_ids_BC[:, :6] == END_ID).all(1)
    assert left.any()
    assert (rollout.completion_ids_BC[left] == END_ID).all()
    assert (rollout.unmask_step_BC[left][:, 6:] == rollout.num_steps).all()
    assert set(rollout.num_steps_B[left].tolist()) == {4}


def test_the_account_is_what_the_meter_counts(random_model):
    rollout = rollout_of(random_model, P2)
    planned = rollout_flops(
        random_model.shape, P2, RolloutNeeds(), rows=len(PROMPTS), prompt_length=rollout.prompts.ids_BP.shape[1]
    )
    assert rollout.flops == pytest.approx(planned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache": "dual"}, "remasking=p2 has no cache"),
        ({"schedule": "dllm"}, "schedule=even"),
        ({"threshold": 0.9}, "remasking=p2 does not go with"),
        ({"guidance_scale": 1.0}, "remasking=p2; set it to 0"),
    ],
    ids=str,
)
def test_what_does_not_go_with_p2_is_refused(change, message):
    P2.check("evaluation.decoding")
    with pytest.raises(UserError, match=message):
        dataclasses.replace(P2, **change).check("evaluation.decoding")


@pytest.mark.parametrize("name", ["egspo", "agrpo", "d1", "espo"])
def test_no_method_trains_on_rollouts_whose_tokens_change(name):
    with pytest.raises(UserError, match=r"rollout\.remasking=p2"):
        get_method(name)().check_record(P2)


def test_the_most_probable_tokens_of_all_steps_are_not_recorded(random_model):
    with pytest.raises(UserError, match="p2"):
        rollout_of(random_model, P2, needs=RolloutNeeds(argmax=True))
