"""Captured passes give what the passes give: with a stand-in for CUDA, which calls a function again to replay it."""

import dataclasses

import pytest
import torch
from transformers import masking_utils

from harness.config.decoding import Decoding
from harness.config.tree import LoraConfig
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models import graphs
from harness.models.adapters import merged
from harness.models.flops import Experts
from harness.models.key_values import KeyValueCache

PROMPTS = ["12+3=", "7*8=", "hello world:"]
MORE = ["1+1=", "2*12=", "other  words"]


class StandIn:
    """captures, replays: how many."""

    def __init__(self):
        self.captures = self.replays = 0

    def __call__(self, function):
        self.captures += 1
        output = function()

        def replay():
            self.replays += 1
            output.copy_(function())

        return replay, output


def capture(model):
    stand_in = StandIn()
    model.graphs.capture(model.predictor, model.shape, by=stand_in)
    return stand_in


def completions(model, prompts, **options):
    sizes = {"completion_length": 12, "block_length": 4, "num_steps": 12, "eos_policy": "run", "temperature": 0.9}
    return generate(model, model.encode_prompts(prompts), Decoding(**sizes, **options), torch.arange(len(prompts)))


@pytest.mark.parametrize("rule", [{}, {"threshold": 0.3}], ids=str)
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_rollouts_are_the_same_whatever_is_replayed(random_model, cache, rule):
    expected = [completions(random_model, prompts, cache=cache, **rule) for prompts in (PROMPTS, MORE, PROMPTS)]
    stand_in = capture(random_model)
    for prompts, plain in zip((PROMPTS, MORE, PROMPTS), expected, strict=True):
        replayed = completions(random_model, prompts, cache=cache, **rule)
        for name in ("completion_ids_BC", "unmask_step_BC", "logprob_BC", "entropy_BC", "forwards_B"):
            assert torch.equal(getattr(replayed, name), getattr(plain, name)), name
        assert replayed.flops == plain.flops
    assert stand_in.replays > stand_in.captures > 0


def test_a_pass_is_captured_when_its_shapes_come_again_and_padding_is_a_shape_of_its_own(random_model):
    stand_in = capture(random_model)
    padded, alike = random_model.encode_prompts(PROMPTS), random_model.encode_prompts(["12+3=", "12*8="])
    with torch.no_grad():
        for times, (captures, replays) in enumerate([(0, 0), (1, 1), (1, 2)], start=1):
            random_model.hidden(padded.ids_BP, padded.mask_BP)
            assert (stand_in.captures, stand_in.replays) == (captures, replays), times
        random_model.hidden(padded.ids_BP, None)
        random_model.hidden(alike.ids_BP, alike.mask_BP)
        assert (stand_in.captures, stand_in.replays) == (1, 2)


def test_passes_with_gradient_are_never_replayed(random_model):
    stand_in, prompts = capture(random_model), random_model.encode_prompts(PROMPTS)
    for _ in range(3):
        random_model.hidden(prompts.ids_BP, prompts.mask_BP).sum().backward()
    assert stand_in.captures == 0


def test_what_was_returned_stays_when_the_graph_is_replayed(random_model):
    capture(random_model)
    one, other = random_model.encode_prompts(PROMPTS), random_model.encode_prompts([*MORE[:2], "hello  wurld"])
    with torch.no_grad():
        expected = random_model.hidden(one.ids_BP, None).clone()
        first = random_model.hidden(one.ids_BP, None)
        random_model.hidden(other.ids_BP, None)
    assert torch.equal(first, expected)


def test_changed_weights_adapters_that_are_merged_and_the_reference_policy_are_seen(random_model):
    random_model.add_lora(LoraConfig(rank=4), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in random_model.predictor.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) / 8)
    tokens_BL = random_model.encode_prompts(PROMPTS).ids_BP
    capture(random_model)

    @torch.no_grad()
    def passes():
        own = [random_model.hidden(tokens_BL, None) for _ in range(3)]
        assert torch.equal(own[0], own[1])
        assert torch.equal(own[0], own[2])
        return own[0]

    trained = passes()
    with random_model.reference_policy():
        assert not torch.allclose(passes(), trained, atol=1e-2)
    with merged(random_model):
        assert torch.allclose(passes(), trained, atol=1e-4)
        assert not torch.equal(passes(), trained), "merged weights are rounded, so the graph was not the same"
    assert torch.equal(passes(), trained)
    with torch.no_grad():
        for weight in random_model.predictor.parameters():
            weight.mul_(1.1)
    changed = passes()
    assert not torch.allclose(changed, trained, atol=1e-2)


def test_the_graph_that_was_used_least_recently_makes_room(random_model, monkeypatch):
    monkeypatch.setattr(graphs, "KEPT", 2)
    stand_in = capture(random_model)
    wide, narrow, single = (torch.zeros(shape, dtype=torch.long) for shape in ((2, 5), (2, 4), (1, 4)))
    with torch.no_grad():
        for tokens_BL in (wide, wide, narrow, narrow, wide):
            random_model.hidden(tokens_BL, None)
        assert stand_in.captures == 2
        random_model.hidden(single, None)
        random_model.hidden(wide, None)
        assert stand_in.captures == 2, "the wide one was used last"
        random_model.hidden(narrow, None)
        random_model.hidden(narrow, None)
        assert stand_in.captures == 3


def test_after_memory_ran_out_while_capturing_passes_start_anew(random_model):
    def full(function):
        raise torch.OutOfMemoryError

    random_model.graphs.capture(random_model.predictor, random_model.shape, by=full)
    with torch.no_grad():
        for _ in range(2):
            random_model.hidden(torch.zeros((1, 4), dtype=torch.long), None)
            with pytest.raises(torch.OutOfMemoryError):
                random_model.hidden(torch.zeros((1, 4), dtype=torch.long), None)


def test_what_cannot_be_captured_is_refused(random_model):
    with pytest.raises(
        UserError, match=r"they are for a GPU, and the device is cpu\. Set execution\.cuda_graphs=false"
    ):
        random_model.graphs.capture(random_model.predictor, random_model.shape)
    mixture = dataclasses.replace(random_model.shape, experts=Experts(count=4, active=2, intermediate=8))
    with pytest.raises(UserError, match="which experts a mixture uses"):
        random_model.graphs.capture(random_model.predictor, mixture, by=StandIn())
    random_model.predictor.register_parameter(
        "packed", torch.nn.Parameter(torch.zeros(1, dtype=torch.uint8), requires_grad=False)
    )
    with pytest.raises(UserError, match="quantized weights"):
        random_model.graphs.capture(random_model.predictor, random_model.shape, by=StandIn())


@pytest.mark.parametrize("padded", [False, True])
def test_transformers_makes_no_masks(random_model, monkeypatch, padded):
    def refuse(**_):
        raise AssertionError("a mask was made")

    for name in masking_utils.ALL_MASK_ATTENTION_FUNCTIONS:
        monkeypatch.setitem(masking_utils.ALL_MASK_ATTENTION_FUNCTIONS, name, refuse)
    prompts = random_model.encode_prompts(PROMPTS)
    mask_BP = prompts.mask_BP if padded else None
    random_model.hidden(prompts.ids_BP, mask_BP)
    random_model.cached_hidden(prompts.ids_BP, mask_BP, KeyValueCache())
