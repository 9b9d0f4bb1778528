"""What a model counts of itself, whoever calls it."""

import contextlib
import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.decoding import Decoding
from harness.config.tree import LoraConfig
from harness.diffusion.sampler import generate
from harness.models import flops
from harness.models.attention import COMPLETION, SEQUENCE, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.models.key_values import KeyValueCache

TOKENS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
POSITIONS = torch.tensor([[2, 3], [0, 1]])
PASS = {"rows": 2, "queries": 4, "keys": 4, "head_positions": 4}


def test_a_forward_pass_counts_its_rows_and_the_positions_asked_for(random_model):
    with random_model.meter.measure() as cost, torch.no_grad():
        random_model.logits(TOKENS, None, POSITIONS)
    assert cost.forwards == 2
    assert cost.forward_flops == flops.forward(random_model.shape, **PASS)
    assert cost.backward_flops == 0


def test_a_backward_pass_counts_when_it_happens_and_each_time(random_model):
    with random_model.meter.measure() as forward:
        logits = random_model.logits(TOKENS, None, POSITIONS)
    assert forward.backward_flops == 0
    with random_model.meter.measure() as backward:
        logits.sum().backward(retain_graph=True)
        logits.sum().backward()
    assert (backward.forwards, backward.forward_flops) == (0, 0)
    assert backward.backward_flops == 2 * flops.backward(random_model.shape, **PASS)


def test_trunk_and_head_apart_cost_what_they_cost_together(random_model):
    with random_model.meter.measure() as apart, torch.no_grad():
        hidden_BLd = random_model.hidden(TOKENS, None)
        random_model.head(hidden_BLd[:, 2:])
    with random_model.meter.measure() as together, torch.no_grad():
        random_model.logits(TOKENS, None, POSITIONS)
    assert apart == together


def test_measurements_may_be_nested_and_hold_what_an_error_interrupted(random_model):
    with random_model.meter.measure() as outer, torch.no_grad():
        random_model.logits(TOKENS, None, POSITIONS)
        with contextlib.suppress(KeyError), random_model.meter.measure() as inner:
            random_model.logits(TOKENS, None, POSITIONS)
            raise KeyError
    assert (inner.forwards, outer.forwards) == (2, 4)


def test_the_reference_policy_counts_without_its_adapters(random_model):
    random_model.add_lora(LoraConfig(rank=4), seed=0)
    plain = flops.forward(dataclasses.replace(random_model.shape, lora_ranks={}), **PASS)
    with random_model.meter.measure() as cost, torch.no_grad(), random_model.reference_policy():
        random_model.logits(TOKENS, None, POSITIONS)
    assert cost.forward_flops == plain
    with random_model.meter.measure() as cost, torch.no_grad():
        random_model.logits(TOKENS, None, POSITIONS)
    assert cost.forward_flops > plain


def test_fewer_queries_than_keys_cost_the_attention_to_all_keys():
    shape = flops.ModelShape(layers=1, hidden=2, intermediate=3, heads=1, kv_heads=1, head_dim=2, vocabulary=5)
    linear = 4 * (2 * 2) + 3 * (2 * 3)
    cached = flops.forward(shape, rows=3, queries=2, keys=10, head_positions=0)
    assert cached == 3 * 2 * (2 * linear + 2 * 2 * 10 * 2)


@torch.no_grad()
@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("first", "end"), [(0, 12), (5, 12), (5, 8)], ids=["exact", "prefix", "dual"])
def test_each_kind_of_pass_costs_within_one_per_cent_of_what_torch_counts(random_model, first, end, padded, lora):
    if lora:
        random_model.add_lora(LoraConfig(rank=lora), seed=0)
    tokens_BL = torch.arange(4, 28).reshape(2, 12)
    mask_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
    mask_BL[1, :3] = False
    cache = KeyValueCache()
    if first:
        random_model.cached_hidden(tokens_BL, mask_BL if padded else None, cache)
        cache.first = first
    # Plain matrix products in attention: torch's counter sees no fused kernel of a processor.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, random_model.meter.measure() as cost:
        hidden_Bqd, _ = random_model.cached_hidden(tokens_BL[:, first:end], mask_BL if padded else None, cache)
        random_model.head(hidden_Bqd[:, :3])
    assert cost.forwards == 2
    assert cost.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize(("scale", "passes"), [(0.0, 1), (0.7, 2)])
def test_guidance_doubles_forwards_and_flops_alike(random_model, scale, passes):
    prompts = random_model.encode_prompts(["0102", "10"])
    plain = Decoding(completion_length=8, block_length=8, num_steps=4, eos_policy="run")
    guided = Decoding(completion_length=8, block_length=8, num_steps=4, eos_policy="run", guidance_scale=scale)
    one, other = (generate(random_model, prompts, decoding, torch.arange(2)) for decoding in (plain, guided))
    assert one.forwards_B.tolist() == [4, 4]
    assert other.forwards_B.tolist() == [4 * passes, 4 * passes]
    assert other.flops == passes * one.flops


@pytest.fixture(params=[SEQUENCE, COMPLETION])
def block_model(random_model, request):
    attention = Attention(block_length=4, blocks_from=request.param)
    network, tokenizer, special = random_model.predictor.transformer, random_model.tokenizer, random_model.special
    return DiffusionLM(network, tokenizer, special, name="blocks", attention=attention, compact_prompts=True)


@contextlib.contextmanager
def counted():
    """What torch counts inside; of the backends of attention on a CPU, it sees this one alone."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


@pytest.mark.parametrize("texts", [["012345678901", "ab0123456789"], ["0123456789", "01"]], ids=["whole", "padded"])
def test_passes_by_blocks_and_their_gradients_cost_within_one_per_cent_of_what_torch_counts(block_model, texts):
    prompts = block_model.encode_prompts(texts)
    length = prompts.ids_BP.shape[1]
    assert length > 8, "there are several blocks"
    with block_model.meter.measure() as cost, counted() as forward:
        logits = block_model.logits(prompts.ids_BP, prompts.mask_BP, torch.arange(length - 4, length).expand(2, -1))
    with block_model.meter.measure() as back, counted() as backward:
        logits.sum().backward()
    assert cost.forward_flops == pytest.approx(forward.get_total_flops(), rel=0.01)
    assert back.backward_flops == pytest.approx(backward.get_total_flops(), rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("is_padded", [False, True])
def test_passes_over_a_block_against_kept_keys_cost_within_one_per_cent_of_what_torch_counts(block_model, is_padded):
    cache, tokens_BL = KeyValueCache(), torch.randint(5, 20, (2, 16), generator=torch.Generator().manual_seed(0))
    there_BL = torch.arange(16) >= torch.tensor([[0], [4]])
    for first, end in ((0, 8), (8, 12), (8, 12), (12, 16), (12, 16)):
        cache.first = first
        mask_BL = there_BL[:, :end] if is_padded else None
        with block_model.meter.measure() as cost, counted() as counter:
            hidden_Bqd, _ = block_model.cached_hidden(tokens_BL[:, first:end], mask_BL, cache)
            block_model.head(hidden_Bqd)
        assert cost.forwards == 2
        assert cost.forward_flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    whole_BLd = block_model.hidden(tokens_BL, there_BL if is_padded else None)
    torch.testing.assert_close(hidden_Bqd, whole_BLd[:, 12:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_pass_beside_the_clean_sequence_costs_one_over_twice_the_tokens(block_model, random_model):
    prompts = block_model.encode_prompts(["012345678901", "ab0123456789"])
    noisy_BL = prompts.ids_BP.clone()
    noisy_BL[:, 3::2] = block_model.special.mask_id
    where = (None, torch.arange(12).expand(2, -1))
    with block_model.meter.measure() as cost, counted() as counter:
        logits = block_model.logits(noisy_BL, *where, prompts.ids_BP)
    assert cost.forward_flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    with random_model.meter.measure() as ordinary:
        random_model.logits(noisy_BL, *where, prompts.ids_BP)
    assert ordinary.forward_flops == flops.forward(random_model.shape, rows=2, queries=12, keys=12, head_positions=24)
    # What a block is predicted after is clean, as if it alone were masked.
    for first in (0, 4, 8):
        alone_BL = torch.cat([prompts.ids_BP[:, :first], noisy_BL[:, first:]], 1)
        alone = block_model.logits(alone_BL, *where)[:, first : first + 4]
        torch.testing.assert_close(logits[:, first : first + 4], alone, atol=1e-5, rtol=1e-5)
