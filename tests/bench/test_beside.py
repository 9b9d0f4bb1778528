"""A clone of other code, stood in for by one of our own with the same files, names and options."""

import dataclasses
import sys

import pytest
import torch
from safetensors.torch import load_file

from harness.bench.beside import beside, check_clone
from harness.bench.checkpoint import save_random_checkpoint
from harness.bench.rollouts import decoding_of
from harness.bench.shapes import SHAPES, make_model
from harness.errors import UserError

SHAPE = SHAPES["tiny"].with_sizes(batch=2)
MODEL = """
import json
from pathlib import Path
from safetensors.torch import load_file


class LLaDAModelLM:
    @classmethod
    def from_pretrained(cls, folder, torch_dtype):
        model = cls()
        model.width = json.loads(Path(folder, "config.json").read_text())["d_model"]
        weights = load_file(Path(folder, "model.safetensors"))
        assert weights["model.transformer.wte.weight"].shape == (98, model.width)
        assert weights["model.transformer.wte.weight"].dtype == torch_dtype
        return model

    def to(self, device):
        return self

    def eval(self):
        return self
"""
FAST = """
import torch
from {package}model.modeling_llada import LLaDAModelLM


def generate(model, prompt, steps=128, gen_length=128, block_length=128, temperature=0., remasking="low_confidence",
             mask_id=126336, threshold=None, factor=None):
    print("the clone may print what it likes")
    tokens = [steps, gen_length, block_length, mask_id, model.width, -1 if threshold is None else int(100 * threshold)]
    completion = torch.tensor(tokens).expand(len(prompt), -1)
    return torch.cat([prompt, completion], 1), steps


def generate_with_dual_cache(*arguments, **options):
    tokens, passes = generate(*arguments, **options)
    return tokens + 1, passes


generate_with_dual_cache.__signature__ = __import__("inspect").signature(generate)
"""
PLAIN = """
import torch


def generate(model, prompt, steps=128, gen_length=128, block_length=128, temperature=0., cfg_scale=0.,
             remasking="low_confidence", mask_id=126336):
    assert temperature in (0, 0.5)
    return torch.cat([prompt, torch.full((len(prompt), 3), model.width)], 1)
"""


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def clone_of_fast_dllm(folder, package=""):
    generate = FAST.format(package=package)
    return write(folder / "Fast-dLLM", {"llada/generate.py": generate, "llada/model/modeling_llada.py": MODEL})


def opened(clone, python=sys.executable):
    return beside(clone, python, SHAPE, make_model(SHAPE, "cpu")[1], "cpu")


@pytest.mark.parametrize("package", ["", "."])
def test_fast_dllm_is_run_on_our_weights_with_our_sizes_however_it_imports_its_model(tmp_path, package):
    decoding = decoding_of(SHAPE, 0.0)
    with opened(clone_of_fast_dllm(tmp_path, package)) as other:
        assert other.title == "Fast-dLLM"
        assert [kind for kind in ("exact", "prefix", "dual", "threshold") if other.has(kind)] == [
            "exact",
            "dual",
            "threshold",
        ]
        assert other.seconds("exact", decoding) > 0
        assert (other.last.passes, other.last.completion) == (4, [[4, 16, 16, 97, 64, -1]] * 2)
        other.seconds("dual", decoding)
        assert other.last.completion == [[5, 17, 17, 98, 65, 0]] * 2
        other.seconds("threshold", dataclasses.replace(decoding, threshold=0.75))
        assert other.last.completion == [[4, 16, 16, 97, 64, 75]] * 2


def test_llada_has_one_sampler_that_counts_no_passes_and_its_model_from_the_hub_in_a_folder(tmp_path):
    clone = write(tmp_path / "LLaDA", {"generate.py": PLAIN, "model/modeling_llada.py": MODEL})
    with opened(clone) as other:
        assert [kind for kind in ("exact", "prefix", "dual", "threshold") if other.has(kind)] == ["exact"]
        other.seconds("exact", decoding_of(SHAPE, 0.5))
        assert (other.last.passes, other.last.completion) == (0, [[64] * 3] * 2)


@pytest.mark.slow
def test_what_goes_wrong_in_the_clone_is_said_in_one_sentence(tmp_path):
    clone = clone_of_fast_dllm(tmp_path)
    write(clone, {"llada/generate.py": "import a_package_that_is_missing\n"})
    with pytest.raises(UserError, match=r"'Fast-dLLM' failed under .*No module named 'a_package_that_is_missing'\. It"):
        opened(clone).__enter__()
    write(clone, {"llada/generate.py": FAST.format(package="") + "\n\n\ndef generate(*a, **o): 1 / 0\n"})
    with pytest.raises(UserError, match="ZeroDivisionError: division by zero"):
        opened(clone).__enter__()


def test_a_python_that_cannot_be_started_a_folder_that_is_no_clone_and_another_layout_are_refused(tmp_path):
    clone = clone_of_fast_dllm(tmp_path)
    with pytest.raises(UserError, match="--beside-python 'no-such-python' cannot be started: No such file"):
        opened(clone, "no-such-python").__enter__()
    with pytest.raises(UserError, match=r"has no llada/generate.py or generate.py; name a clone of NVlabs/Fast-dLLM"):
        check_clone(tmp_path, SHAPE)
    with pytest.raises(UserError, match="shape 'dream-192' is Dream's"):
        check_clone(clone, SHAPES["dream-192"])


def test_the_weights_beside_are_those_that_are_measured(tmp_path):
    save_random_checkpoint(SHAPE, tmp_path / "model", "cpu")
    model, prompts = make_model(SHAPE, "cpu")
    saved = load_file(tmp_path / "model" / "model.safetensors")["model.transformer.wte.weight"]
    assert torch.equal(saved, model.predictor.transformer.model.embed_tokens.weight)
    assert not (prompts.ids_BP == SHAPE.mask_id).any()
