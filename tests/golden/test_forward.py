"""Forward passes against the official models. Their norms and rotary embeddings are float32, so this is a float32
matter."""

import pytest
import torch

from harness.models.attention import COMPLETION, Attention
from harness.models.key_values import KeyValueCache

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


@torch.no_grad()
def test_sdar_attends_by_blocks_of_four_as_its_config_json_says(golden, golden_model):
    case = golden("sdar_tiny/forward.safetensors")
    model, tokens_BL = golden_model("sdar_tiny"), case["input_ids"]
    mask = model.attention.mask(None, 16, slice(0, 16), tokens_BL.device)
    assert torch.equal(mask[0, 0], case["block4_attention_mask"])
    logits = model.logits(tokens_BL, None, every_position(tokens_BL))
    torch.testing.assert_close(logits, case["block4_logits"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_bd3lm_attends_by_blocks_of_a_prompt_that_is_padded_to_whole_blocks(golden, golden_model):
    case = golden("a2d_qwen3_tiny/forward.safetensors")
    model = golden_model("a2d_qwen3_tiny", attention=Attention(block_length=4, blocks_from=COMPLETION))
    tokens_BL, there_BL = case["padded_input_ids"], case["attention_mask"].bool()
    mask = model.attention.mask(there_BL, 16, slice(0, 16), tokens_BL.device)
    official = case["block4_attention_mask"]
    assert torch.equal(mask[:, 0][there_BL], official[:, 0][there_BL])
    logits = model.logits(tokens_BL, there_BL, every_position(tokens_BL))
    torch.testing.assert_close(logits[there_BL], case["block4_logits"][there_BL], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_masked_tokens_of_several_blocks_are_predicted_after_clean_blocks_as_in_training(golden, golden_model):
    case = golden("a2d_qwen3_tiny/forward.safetensors")
    model = golden_model("a2d_qwen3_tiny", attention=Attention(block_length=4, blocks_from=COMPLETION))
    noisy_BL, clean_BL = case["train_noisy_ids"], case["train_clean_ids"]
    mask = model.attention.mask_beside_clean(None, 12, noisy_BL.device)
    assert torch.equal(mask[0, 0], case["train_mask_2L"])
    assert torch.equal(mask[0, 0], golden("sdar_tiny/forward.safetensors")["train_mask_2L"])
    logits = model.logits(noisy_BL, None, every_position(noisy_BL), clean_BL)
    torch.testing.assert_close(logits, case["train_logits_noisy_half"], atol=TOLERANCE, rtol=0)
    # Padding in front changes nothing.
    pads = torch.full((2, 4), 77)
    there_BL = torch.arange(16).expand(2, -1) >= 4
    padded = [torch.cat([pads, ids_BL], 1) for ids_BL in (noisy_BL, clean_BL)]
    logits = model.logits(padded[0], there_BL, 4 + every_position(noisy_BL), padded[1])
    torch.testing.assert_close(logits, case["train_logits_noisy_half"], atol=TOLERANCE, rtol=0)
    full = golden_model("a2d_qwen3_tiny")
    plain, given = (full.logits(noisy_BL, None, every_position(noisy_BL), clean) for clean in (None, clean_BL))
    assert torch.equal(plain, given)


@torch.no_grad()
@pytest.mark.parametrize("pads", [0, 3, 4, 9])
def test_blocks_of_sdar_begin_with_the_first_token_whatever_padding_stands_before_it(golden, golden_model, pads):
    case = golden("sdar_tiny/forward.safetensors")
    padded_BL = torch.nn.functional.pad(case["input_ids"], (pads, 0), value=77)
    there_BL = torch.arange(16 + pads).expand(2, -1) >= pads
    logits = golden_model("sdar_tiny").logits(padded_BL, there_BL, pads + every_position(case["input_ids"]))
    torch.testing.assert_close(logits, case["block4_logits"], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_block_against_the_keys_and_values_of_those_before_it_has_the_logits_of_the_whole(golden, golden_model):
    case = golden("sdar_tiny/forward.safetensors")
    model, tokens_BL, cache = golden_model("sdar_tiny"), case["input_ids"], KeyValueCache()
    parts = []
    for first, end in ((0, 8), (8, 12), (8, 12), (12, 16)):
        cache.first = first
        hidden_Bqd, predicted = model.cached_hidden(tokens_BL[:, first:end], None, cache)
        assert predicted == first
        parts.append(model.head(hidden_Bqd))
    assert len(cache) == 16
    torch.testing.assert_close(parts[1], parts[2], atol=1e-5, rtol=0)
    logits = torch.cat([parts[0], *parts[2:]], 1)
    torch.testing.assert_close(logits, case["block4_logits"], atol=TOLERANCE, rtol=0)
