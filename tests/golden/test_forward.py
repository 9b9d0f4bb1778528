"""Forward passes against the official models. Their norms and rotary embeddings are float32, so this is a float32
matter."""

import pytest
import torch

TOLERANCE = 1e-4


def every_position(tokens_BL):
    return torch.arange(tokens_BL.shape[1]).expand(tokens_BL.shape[0], -1)


@torch.no_grad()
def test_llada_logits_equal_the_official_ones(golden, golden_model):
    case = golden("llada_tiny/forward.safetensors")
    logits = golden_model("llada_tiny").logits(case["input_ids"], None, every_position(case["input_ids"]))
    torch.testing.assert_close(logits, case["logits"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_llada_ignores_left_padding(golden, golden_model):
    case = golden("llada_tiny/forward.safetensors")
    mask_BL = case["attention_mask"].bool()
    assert not mask_BL.all()
    logits = golden_model("llada_tiny").logits(
        case["padded_input_ids"], mask_BL, every_position(case["padded_input_ids"])
    )
    torch.testing.assert_close(logits[mask_BL], case["padded_logits_mask_honoured"][mask_BL], atol=TOLERANCE, rtol=0)
    unpadded_length = case["row0_unpadded_logits"].shape[1]
    torch.testing.assert_close(logits[:1, -unpadded_length:], case["row0_unpadded_logits"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_llada_logits_at_asked_positions_are_those_rows_of_all_logits(golden, golden_model):
    case = golden("llada_tiny/forward.safetensors")
    asked = torch.tensor([[3, 20, 7], [0, 23, 11]])
    logits = golden_model("llada_tiny").logits(case["input_ids"], None, asked)
    expected = case["logits"].gather(1, asked[:, :, None].expand(-1, -1, 512))
    torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_dream_logits_are_the_official_ones_shifted_by_one(golden, golden_model):
    case = golden("dream_tiny/forward.safetensors")
    model = golden_model("dream_tiny")
    logits = model.logits(case["input_ids"], None, every_position(case["input_ids"]))
    torch.testing.assert_close(logits, case["logits_shifted"], atol=TOLERANCE, rtol=0)
    raw = model.predictor.transformer(input_ids=case["input_ids"]).logits
    torch.testing.assert_close(raw, case["logits_raw"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["padded_logits_raw", "padded_logits_raw_arange_positions"])
def test_dream_ignores_left_padding(golden, golden_model, positions):
    case = golden("dream_tiny/forward.safetensors")
    mask_BL = case["attention_mask"].bool()
    assert not mask_BL.all()
    logits = golden_model("dream_tiny").logits(
        case["padded_input_ids"], mask_BL, every_position(case["padded_input_ids"])
    )
    # The prediction for position i comes from position i - 1; where that is padding, no number means anything.
    valid_BL = mask_BL[:, 1:] & mask_BL[:, :-1]
    expected = case[positions][:, :-1]
    torch.testing.assert_close(logits[:, 1:][valid_BL], expected[valid_BL], atol=TOLERANCE, rtol=0)
    unpadded = case["row0_unpadded_logits_raw"]
    torch.testing.assert_close(logits[:1, 1 - unpadded.shape[1] :], unpadded[:, :-1], atol=TOLERANCE, rtol=0)


FAMILIES = ("a2d_qwen3_tiny", "a2d_qwen2_tiny", "a2d_llama_tiny", "llada_moe_tiny")


@torch.no_grad()
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "a2d_llama_tiny"])
def test_a_family_s_logits_equal_the_official_ones(golden, golden_model, family):
    case = golden(f"{family}/forward.safetensors")
    logits = golden_model(family).logits(case["input_ids"], None, every_position(case["input_ids"]))
    torch.testing.assert_close(logits, case["logits"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_ignores_left_padding(golden, golden_model, family):
    case = golden(f"{family}/forward.safetensors")
    mask_BL, tokens_BL = case["attention_mask"].bool(), case["padded_input_ids"]
    assert not mask_BL.all()
    logits = golden_model(family).logits(tokens_BL, mask_BL, every_position(tokens_BL))
    torch.testing.assert_close(logits[mask_BL], case["padded_logits"][mask_BL], atol=TOLERANCE, rtol=0)
