"""Compiled layers give the tokens and steps that the layers give, and what cannot be compiled is refused."""

import dataclasses
import os
import shutil

import pytest
import torch

from harness.config.decoding import Decoding
from harness.config.tree import LoraConfig
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.adapters import merged
from harness.models.attention import Attention
from harness.models.compiled import compile_layers
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import Experts

PROMPTS = ["12+3=", "7*8=", "hello world:"]
needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
SIZES = {"completion_length": 12, "block_length": 4, "num_steps": 6, "eos_policy": "run", "temperature": 0.9}


@pytest.fixture
def functions():
    """How many functions were compiled since."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    return lambda: counters["stats"]["unique_graphs"]


def layers(model):
    return model.predictor.transformer.model.layers


def completions(model, **options):
    return generate(model, model.encode_prompts(PROMPTS), Decoding(**SIZES, **options), torch.arange(3))


def assert_same(one, other):
    assert torch.equal(one.completion_ids_BC, other.completion_ids_BC)
    assert torch.equal(one.unmask_step_BC, other.unmask_step_BC)
    torch.testing.assert_close(one.logprob_BC, other.logprob_BC, atol=1e-5, rtol=1e-5)
    assert one.flops == other.flops


@pytest.mark.slow
def test_all_layers_share_what_one_pass_has_compiled(random_model, functions):
    tokens_BL = random_model.encode_prompts(PROMPTS[:1]).ids_BP.expand(2, -1)
    expected = random_model.hidden(tokens_BL, None)
    compile_layers(random_model, "eager")
    once = [layer._compiled_call_impl for layer in layers(random_model)]
    compile_layers(random_model, "eager")
    assert [layer._compiled_call_impl for layer in layers(random_model)] == once
    torch.testing.assert_close(random_model.hidden(tokens_BL, None), expected)
    assert functions() == 1
    assert not any("compiled" in name or "orig_mod" in name for name in random_model.predictor.state_dict())


def test_what_cannot_be_compiled_is_refused(random_model, monkeypatch):
    monkeypatch.setenv("CXX", "a-compiler-that-is-not-here")
    with pytest.raises(UserError, match=r"need a compiler, and a-compiler-that-is-not-here is not on this machine"):
        compile_layers(random_model)
    random_model.predictor.register_parameter(
        "packed", torch.nn.Parameter(torch.zeros(1, dtype=torch.uint8), requires_grad=False)
    )
    with pytest.raises(UserError, match=r"quantized weights are not compiled\. Leave out --compile"):
        compile_layers(random_model)
    experts = Experts(count=4, active=2, intermediate=8)
    mixture = dataclasses.replace(random_model.shape, experts=experts)
    monkeypatch.setattr(DiffusionLM, "shape", mixture)
    with pytest.raises(UserError, match="which experts a mixture uses"):
        compile_layers(random_model)
    assert all(layer._compiled_call_impl is None for layer in layers(random_model))


@pytest.mark.slow
@needs_compiler
def test_rollouts_have_the_same_tokens_and_steps(random_model, functions):
    kinds = [{}, {"cache": "dual"}]
    expected = [completions(random_model, **kind) for kind in kinds]
    compile_layers(random_model)
    for kind, plain in zip(kinds, expected, strict=True):
        assert_same(completions(random_model, **kind), plain)
    # With a cache a pass is cut in two where keys and values are kept, and the parts of a block are sizes of their own.
    assert functions() <= 8


@pytest.mark.slow
def test_blocks_are_as_without(random_model):
    blocks = DiffusionLM(
        random_model.predictor.transformer,
        random_model.tokenizer,
        random_model.special,
        name="blocks",
        attention=Attention(block_length=4),
        compact_prompts=True,
    )
    expected = completions(blocks)
    compile_layers(blocks, "eager")
    assert_same(completions(blocks), expected)


@pytest.mark.slow
def test_adapters_the_reference_policy_and_gradients_are_as_without(random_model):
    random_model.add_lora(LoraConfig(rank=4), seed=0)
    with torch.no_grad():
        for name, weight in random_model.predictor.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) / 8)
    tokens_BL = random_model.encode_prompts(PROMPTS).ids_BP

    def passes():
        random_model.network.zero_grad()
        found = [random_model.hidden(tokens_BL, None)]
        found[0].sum().backward()
        found += [weight.grad for weight in random_model.network.parameters() if weight.grad is not None]
        with torch.no_grad(), random_model.reference_policy():
            found.append(random_model.hidden(tokens_BL, None))
        with torch.no_grad(), merged(random_model):
            found.append(random_model.hidden(tokens_BL, None))
        return found

    plain = passes()
    compile_layers(random_model, "aot_eager")
    torch.testing.assert_close(passes(), plain)


@pytest.mark.slow
@needs_compiler
def test_dropout_draws_what_it_draws_without(random_model):
    random_model.add_lora(LoraConfig(rank=4, dropout=0.5), seed=0)
    with torch.no_grad():
        for name, weight in random_model.predictor.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    tokens_BL = random_model.encode_prompts(PROMPTS).ids_BP
    random_model.network.train()

    def drawn(seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            return random_model.hidden(tokens_BL, None)

    plain, other = drawn(0), drawn(1)
    compile_layers(random_model)
    torch.testing.assert_close(drawn(0), plain, atol=1e-4, rtol=1e-4)
    assert (plain - other).abs().max() > 0.1
