"""Packed weights give the completions of the layers, while completions are made and no longer."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.cli.main import main
from harness.config.decoding import Decoding
from harness.config.tree import Execution, LoraConfig
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models import packing
from harness.models.compiled import speed_up
from harness.models.packing import packed, packed_bytes, packed_layers

PROMPTS = ["12+3=", "7*8=", "hello world:"]
SIZES = {"completion_length": 12, "block_length": 4, "num_steps": 6, "eos_policy": "run", "temperature": 0.9}
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


@pytest.fixture(autouse=True)
def small_layers_too(monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST", 1)


def completions(model, **options):
    return generate(model, model.encode_prompts(PROMPTS), Decoding(**SIZES, **options), torch.arange(3))


def pack(model):
    speed_up(model, Execution(pack_weights=True))


def swapped(model):
    return [layer for layer in packed_layers(model.predictor) if "forward" in vars(layer)]


@pytest.mark.parametrize("options", [{}, {"cache": "prefix"}, {"cache": "dual"}, {"threshold": 0.5}], ids=str)
@pytest.mark.parametrize("lora", [False, True])
def test_completions_are_those_of_the_layers(random_model, options, lora):
    if lora:
        random_model.add_lora(LoraConfig(rank=4, targets="all"), seed=0)
    expected = completions(random_model, **options)
    pack(random_model)
    made = completions(random_model, **options)
    assert torch.equal(made.completion_ids_BC, expected.completion_ids_BC)
    assert torch.equal(made.unmask_step_BC, expected.unmask_step_BC)
    torch.testing.assert_close(made.logprob_BC, expected.logprob_BC, atol=1e-5, rtol=1e-5)
    assert made.flops == expected.flops
    assert not swapped(random_model)


def test_products_are_packed_without_gradient_alone(random_model):
    tokens_BL = random_model.encode_prompts(PROMPTS[:1]).ids_BP
    with packed(random_model.predictor):
        layers = swapped(random_model)
        with torch.no_grad(), FlopCounterMode(display=False) as count:
            random_model.head(random_model.hidden(tokens_BL, None))
        random_model.head(random_model.hidden(tokens_BL, None)).sum().backward()
    products = list(count.get_flop_counts()["Global"])
    assert torch.ops.mkldnn._linear_pointwise in products
    assert torch.ops.aten.mm not in products
    assert len(layers) == 2 * 7 + 1
    assert all(layer.weight.grad is not None for layer in layers)


def test_layers_are_as_before_after_an_error(random_model, monkeypatch):
    pack(random_model)
    monkeypatch.setattr(random_model, "head", lambda hidden: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        completions(random_model)
    assert not swapped(random_model)


def test_torch_counts_as_many_flops(random_model):
    tokens_BL = random_model.encode_prompts(PROMPTS[:1]).ids_BP
    counts = []
    for predictors in ([], [random_model.predictor]):
        with torch.no_grad(), packed(*predictors), FlopCounterMode(display=False) as count:
            random_model.head(random_model.hidden(tokens_BL, None))
        counts.append(count.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_weights_that_change_between_rollouts_are_packed_anew(random_model):
    pack(random_model)
    before = completions(random_model)
    with torch.no_grad():
        for layer in packed_layers(random_model.predictor):
            layer.weight.mul_(1.5)
    after = completions(random_model)
    random_model.packs_weights = False
    assert torch.equal(after.completion_ids_BC, completions(random_model).completion_ids_BC)
    assert not torch.equal(after.logprob_BC, before.logprob_BC)


def test_rollouts_within_rollouts_leave_the_layers_to_the_outer_ones(random_model):
    with packed(random_model.predictor):
        outer = [layer.forward for layer in swapped(random_model)]
        with packed(random_model.predictor):
            pass
        assert [layer.forward for layer in swapped(random_model)] == outer


def test_layers_that_are_small_or_have_a_bias_are_left(random_model, monkeypatch):
    monkeypatch.setattr(packing, "SMALLEST", 32 * 48)
    assert packed_bytes(random_model.predictor) == 4 * (2 * 3 * 32 * 48 + random_model.shape.vocabulary * 32)
    random_model.predictor.transformer.lm_head = torch.nn.Linear(32, 98)
    assert packed_bytes(random_model.predictor) == 4 * 2 * 3 * 32 * 48


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model: model.network.to(torch.bfloat16), "not all float32"),
        (lambda model: model.network.to("meta"), "the model is on meta; they are for processors"),
    ],
    ids=["bfloat16", "elsewhere"],
)
def test_what_gains_nothing_is_refused(random_model, change, said):
    change(random_model)
    with pytest.raises(UserError, match=said):
        pack(random_model)


def test_an_evaluation_packs(tmp_path, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(
        "harness.models.diffusion_lm.packed", lambda *predictors: given.append(1) or packed(*predictors)
    )
    assert main(["eval", "tiny", "--task", "sudoku", "--items", "2", "--pack-weights", "--out", str(tmp_path)]) == 0
    assert given
    assert main(["eval", "tiny", "--task", "sudoku", "--compile", "--pack-weights", "--out", str(tmp_path)]) == 2
    assert "--compile and --pack-weights have not been tried together" in capsys.readouterr().err
