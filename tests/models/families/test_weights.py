"""What is loaded comes back: weights and adapters under official names; and what a pass costs is what torch counts."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.decoding import CACHES, Decoding
from harness.config.tree import LoraConfig, ModelConfig
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.adapters import merge_adapter
from harness.models.checkpoints import load_model
from harness.models.export import export_adapter, export_model
from harness.models.files import weight_files

EACH = pytest.mark.parametrize("family", ["a2d-qwen3", "a2d-qwen2", "a2d-llama", "qwen2", "sdar", "lladamoe"])
TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44], [9, 9, 130, 2, 77, 61]])
EVERYWHERE = torch.arange(6).expand(2, -1)


def load(folder, *, stored_dtype=False, **changes):
    config = ModelConfig(name=str(folder), **changes)
    return load_model(config, task="sudoku", device="cpu", stored_dtype=stored_dtype)


def logits(lm):
    with torch.no_grad():
        return lm.logits(TOKENS, None, EVERYWHERE)


def stored(folder):
    return {name: weight for path in weight_files(folder) for name, weight in load_file(path).items()}


def with_trained_adapter(folder, **options):
    """Adapters whose second matrices are no longer zero."""
    lm = load(folder, lora=LoraConfig(rank=3, alpha=6.0, **options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in lm.predictor.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) / 8)
    return lm


@EACH
def test_a_model_comes_back_bit_by_bit_under_its_official_names(published_family, family, tmp_path):
    folder, out = published_family(family), tmp_path / "out"
    export_model(load(folder, stored_dtype=True), folder, out, max_shard_size=30_000)
    written, published = stored(out), stored(folder)
    assert len(weight_files(out)) > 1
    assert written.keys() == published.keys()
    assert all(torch.equal(written[name], published[name]) for name in published)
    assert (out / "config.json").read_bytes() == (folder / "config.json").read_bytes()


@EACH
def test_an_adapter_on_all_linear_layers_reloads_and_merges(published_family, family, tmp_path):
    folder = published_family(family)
    lm = with_trained_adapter(folder)
    expected = logits(lm)
    done = export_adapter(lm, folder, tmp_path / "adapter", trained_on=family)
    names = load_file(tmp_path / "adapter" / "adapter_model.safetensors").keys()
    attention, dense, experts = 2 * 4, 3, 4 * 3
    layers = attention + dense + experts if family == "lladamoe" else attention + 2 * dense
    assert len(names) == done.tensors == 2 * layers
    prefix = "base_model.model.model.layers.1"
    assert f"{prefix}.self_attn.q_proj.lora_A.weight" in names
    assert (f"{prefix}.mlp.experts.3.down_proj.lora_B.weight" in names) == (family == "lladamoe")

    again = load(folder, adapter=str(tmp_path / "adapter"))
    assert again.shape == lm.shape
    assert torch.equal(logits(again), expected)
    assert not torch.allclose(expected, logits(load(folder)), atol=0.01)
    merge_adapter(again)
    export_model(again, folder, tmp_path / "merged", max_shard_size=10**9)
    torch.testing.assert_close(logits(load(tmp_path / "merged")), expected, atol=1e-3, rtol=1e-4)


def test_an_export_says_of_what_size_the_blocks_are_that_its_name_may_not_give_away(published_family, tmp_path):
    folder = published_family("a2d-qwen3", "bd3lm")
    model = load(folder)
    export_model(model, folder, tmp_path / "out", max_shard_size=10**9)
    assert model.attention.block_length == 32
    assert load(tmp_path / "out").attention == model.attention


def test_an_adapter_that_leaves_an_expert_out_is_refused(published_family, tmp_path):
    from safetensors.torch import save_file

    folder, adapter = published_family("lladamoe"), tmp_path / "adapter"
    export_adapter(with_trained_adapter(folder), folder, adapter, trained_on="x")
    weights = load_file(adapter / "adapter_model.safetensors")
    kept = {name: weight for name, weight in weights.items() if ".experts.2.up_proj" not in name}
    save_file(kept, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError, match="has tensors of 4 of 5 layers up_proj"):
        load(folder, adapter=str(adapter))


def test_a_tied_output_layer_takes_no_merged_adapter(published_family):
    lm = with_trained_adapter(published_family("a2d-qwen3"), targets="all-and-head")
    with pytest.raises(UserError, match="uses its embedding as output layer"):
        merge_adapter(lm)


def test_experts_that_no_token_chose_have_a_gradient_of_zero(published_family):
    lm = load(published_family("lladamoe"))
    lm.logits(TOKENS[:1, :1], None, EVERYWHERE[:1, :1]).sum().backward()
    experts = lm.predictor.transformer.model.layers[1].mlp.experts
    moved = [bool(expert.up_proj.weight.grad.any()) for expert in experts]
    assert sum(moved) == 2


@EACH
@pytest.mark.parametrize("lora", [{}, {"rank": 4}, {"rank": 4, "targets": "all-and-head"}])
def test_a_pass_costs_within_one_per_cent_of_what_torch_counts(published_family, family, lora):
    lm = load(published_family(family), lora=LoraConfig(**lora)) if lora else load(published_family(family))
    # Plain matrix products in attention: torch's counter sees no fused kernel of a processor.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, lm.meter.measure() as cost:
        output = lm.logits(TOKENS, None, EVERYWHERE[:, :3])
        assert cost.forward_flops == 0
        forward = counter.get_total_flops()
        output.sum().backward()
    assert cost.forward_flops == pytest.approx(forward, rel=0.01)
    assert cost.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


@EACH
@pytest.mark.parametrize("cache", CACHES)
def test_a_rollout_costs_within_one_per_cent_of_what_torch_counts(published_family, family, cache):
    lm = load(published_family(family))
    size = lm.attention.block_length
    if size and cache != "none":
        pytest.skip("models that attend by blocks have a cache of their own")
    prompts = lm.pad_prompts([[5, 6, 7], [8, 9, 10, 11, 12]])
    decoding = Decoding(completion_length=8, block_length=size or 4, num_steps=4, eos_policy="run", cache=cache)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        rollout = generate(lm, prompts, decoding, torch.arange(2))
    assert rollout.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_mixture_counts_the_experts_that_a_token_goes_through_and_not_all(published_family):
    shape = load(published_family("lladamoe")).shape
    assert shape.experts is not None
    attention = 2 * (2 * 32 * 32 + 2 * 32 * 16)
    weights = attention + 3 * 32 * 48 + (32 * 4 + 2 * 3 * 32 * 24)
    assert sum(layer.inputs * layer.outputs * layer.times for layer in shape.linear_layers) == weights
    every = dataclasses.replace(shape.experts, active=4)
    more = dataclasses.replace(shape, experts=every).linear_layers
    assert sum(layer.inputs * layer.outputs * layer.times for layer in more) == weights + 2 * 3 * 32 * 24
