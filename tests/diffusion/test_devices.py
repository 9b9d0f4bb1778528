"""What sampling must not do on a GPU, seen without one: wait for values, and make wide float64 tensors."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.config.decoding import Decoding
from harness.diffusion import categorical, proposal
from harness.diffusion.sampler import generate
from harness.models.diffusion_lm import SpecialTokens
from harness.rollout import Prompts, RolloutNeeds

ENDS = SpecialTokens(mask_id=1999, pad_id=0, end_ids=(0, 7))
DECODINGS = [
    {},
    {"temperature": 0.9},
    {"temperature": 0.9, "remasking": "random", "eos_policy": "forbid-defer"},
    {"temperature": 0.9, "remasking": "topk_margin", "ranking": "behaviour", "top_k": 5, "top_p": 0.9},
    {"cache": "prefix"},
    {"cache": "dual", "remasking": "entropy"},
    {"guidance_scale": 0.5},
]


class WidestFloat64(TorchDispatchMode):
    """The elements of the largest float64 tensor that any operation gave."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and one.dtype == torch.float64:
                self.elements = max(self.elements, one.numel())
        return result


@pytest.fixture
def without_values(random_model):
    """The model with weights that have no values, so that what asks for one fails, as it would wait for a GPU."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in random_model.predictor.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        made_up = torch.empty(tensor.shape, dtype=tensor.dtype)
                        tensors[name] = torch.nn.Parameter(made_up) if tensors is module._parameters else made_up
    return random_model, mode


@pytest.mark.parametrize("options", DECODINGS, ids=str)
def test_inside_a_block_no_value_is_asked_of_the_device(without_values, options):
    model, mode = without_values
    decoding = Decoding(completion_length=8, block_length=4, num_steps=5, **{"eos_policy": "run", **options})
    needs = RolloutNeeds(argmax=decoding.computes_all, behaviour=True)
    with mode:
        prompts = Prompts(ids_BP=torch.ones(3, 6, dtype=torch.long), mask_BP=None)
        rollout = generate(model, prompts, decoding, torch.arange(3), needs=needs)
        with pytest.raises(DataDependentOutputException):
            bool(rollout.completion_ids_BC.any())


def test_no_float64_tensor_is_as_wide_as_a_vocabulary_of_several_chunks():
    logits_NV = torch.randn(16, 2000, generator=torch.Generator().manual_seed(0))
    widest = WidestFloat64()
    with widest:
        categorical.draw(logits_NV, torch.rand(16, dtype=torch.float64), 0.9)
    assert widest.elements == 16 * categorical.CHUNK


@pytest.mark.parametrize("elements", [2000, 6000, 1 << 20])
def test_the_size_of_a_group_changes_no_proposal(monkeypatch, elements):
    logits_NV = torch.randn(16, 2000, generator=torch.Generator().manual_seed(0))
    decoding = Decoding(temperature=0.9, eos_policy="forbid-defer")
    uniform_N = torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for size in (elements, 1 << 24):
        monkeypatch.setattr(proposal, "CPU_ELEMENTS", size)
        found.append(
            proposal.propose(
                logits_NV,
                decoding,
                ENDS,
                token_uniform_N=uniform_N,
                order_uniform_N=None,
                record_behaviour=True,
            )
        )
    one, other = found
    assert torch.equal(one.token_N, other.token_N)
    torch.testing.assert_close(one.confidence_N, other.confidence_N)
    torch.testing.assert_close(one.behaviour.entropy_N, other.behaviour.entropy_N)
