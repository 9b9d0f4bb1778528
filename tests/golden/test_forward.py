"""Forward passes against the official models. Their norms and rotary embeddings are float32, so this is a float32
matter."""

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
