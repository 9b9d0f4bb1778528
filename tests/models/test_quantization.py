"""4-bit base weights: refused clearly where they cannot be had."""

import importlib.util

import pytest
import torch
from transformers import LlamaForCausalLM

from harness.config.tree import LoraConfig, ModelConfig
from harness.errors import UserError
from harness.models.checkpoints import load_model
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.quantization import to_nf4
from harness.models.tiny import END_ID, MASK_ID, CharacterTokenizer, tiny_config

TOKENS = torch.tensor([[5, 80, 13, 21, 7, 44]])


def load(folder, **changes):
    return load_model(ModelConfig(name=str(folder), **changes), task="sudoku", device="cpu")


def test_without_bitsandbytes_four_bits_are_refused(published_llada, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"quantization=nf4 needs the package bitsandbytes, which is not installed"):
        load(published_llada, quantization="nf4", lora=LoraConfig(rank=2))


def test_four_bits_on_a_processor_are_refused(published_llada, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "there")
    with pytest.raises(UserError, match=r"quantization=nf4 needs a GPU, and the device is 'cpu'"):
        load(published_llada, quantization="nf4", lora=LoraConfig(rank=2))


def test_another_quantization_is_refused(published_llada):
    with pytest.raises(UserError, match=r"Unknown model\.quantization 'int8'"):
        load(published_llada, quantization="int8")


def test_an_adapter_cannot_be_merged_into_four_bits(published_llada):
    with pytest.raises(UserError, match="cannot be merged into 4-bit weights; run harness export --merge first"):
        load(published_llada, quantization="nf4", adapter="x/y", lora=LoraConfig(rank=2))


def wide_model():
    """Widths are multiples of 64, the number of weights that share a scale: bitsandbytes asks for it on a CPU."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = LlamaForCausalLM(tiny_config(hidden=64, layers=2, intermediate=128))
    special = SpecialTokens(mask_id=MASK_ID, pad_id=END_ID, end_ids=(END_ID,))
    return DiffusionLM(network.eval(), CharacterTokenizer(), special, name="wide")


def in_four_bits(model):
    model.set_model(to_nf4(model.predictor.transformer, compute_dtype=torch.float32).to("cpu"), {})
    return model


def test_four_bits_predict_nearly_the_same():
    pytest.importorskip("bitsandbytes")
    exact, four_bits = wide_model(), in_four_bits(wide_model())
    assert four_bits.predictor.transformer.model.layers[0].self_attn.q_proj.weight.dtype == torch.uint8
    assert type(four_bits.predictor.transformer.lm_head) is torch.nn.Linear
    positions = torch.arange(6)[None]
    with torch.no_grad():
        logits, expected = four_bits.logits(TOKENS, None, positions), exact.logits(TOKENS, None, positions)
    assert 0 < (logits - expected).norm() / expected.norm() < 0.3


def test_four_bits_pass_gradients_to_the_adapters_alone():
    pytest.importorskip("bitsandbytes")
    four_bits = in_four_bits(wide_model())
    four_bits.add_lora(LoraConfig(rank=2), seed=0)
    four_bits.predictor.train()
    four_bits.logits(TOKENS, None, torch.arange(6)[None]).square().sum().backward()
    trained = {name: weight.grad for name, weight in four_bits.predictor.named_parameters() if weight.requires_grad}
    assert len(trained) == 7 * 2 * 2
    assert all(gradient.abs().sum() > 0 for name, gradient in trained.items() if "lora_B" in name)
