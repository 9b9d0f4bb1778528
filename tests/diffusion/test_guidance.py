"""Classifier-free guidance: one formula, and the passes that it takes."""

import torch

from harness.diffusion.guidance import guide, guided_logits

POSITIONS = torch.tensor([[2, 3]])


def test_guidance_of_0_is_the_conditional_prediction_and_of_1_doubles_the_difference():
    conditional, unconditional = torch.tensor([3.0, 1.0]), torch.tensor([2.0, 2.0])
    assert guide(conditional, unconditional, 0.0).tolist() == [3.0, 1.0]
    assert guide(conditional, unconditional, 1.0).tolist() == [4.0, 0.0]
    assert guide(conditional, unconditional, 0.5).tolist() == [3.5, 0.5]


@torch.no_grad()
def test_logits_lead_away_from_an_answer_without_its_context(random_model):
    mask_id = random_model.special.mask_id
    tokens_BL, is_context_L = torch.tensor([[5, 17, mask_id, mask_id]]), torch.tensor([True, True, False, False])
    with random_model.meter.measure() as cost:
        guided = guided_logits(random_model, tokens_BL, None, POSITIONS, is_context=is_context_L, scale=0.8)
    seen = random_model.logits(tokens_BL, None, POSITIONS)
    blind = random_model.logits(torch.full((1, 4), mask_id), None, POSITIONS)
    torch.testing.assert_close(guided, blind + 1.8 * (seen - blind))
    assert cost.forwards == 2


@torch.no_grad()
def test_without_guidance_one_pass_gives_the_plain_logits(random_model):
    tokens_BL = torch.tensor([[5, 17, 3, 3]])
    with random_model.meter.measure() as cost:
        plain = guided_logits(random_model, tokens_BL, None, POSITIONS, is_context=torch.ones(4, dtype=bool), scale=0.0)
    assert torch.equal(plain, random_model.logits(tokens_BL, None, POSITIONS))
    assert cost.forwards == 1
