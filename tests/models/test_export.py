"""What is written is what was published: names, bytes, configuration; adapters fit the checkpoint's own modules."""

import json
import os

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from harness.config.tree import LoraConfig, ModelConfig
from harness.errors import UserError
from harness.models.adapters import merge_adapter
from harness.models.checkpoints import load_model
from harness.models.export import export_adapter, export_model, new_folder
from harness.models.files import weight_files
from harness.models.tiny import tiny_weights

TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44], [9, 9, 130, 2, 77, 61]])
EVERYWHERE = torch.arange(6).expand(2, -1)
BOTH = pytest.mark.parametrize("published", ["published_llada", "published_dream"])


def load(folder, *, stored_dtype=False, **changes):
    config = ModelConfig(name=str(folder), **changes)
    return load_model(config, task="sudoku", device="cpu", stored_dtype=stored_dtype)


def logits(lm):
    with torch.no_grad():
        return lm.logits(TOKENS, None, EVERYWHERE)


def raw_bytes(weight):
    return weight.contiguous().view(torch.uint8).numpy().tobytes()


def stored(folder):
    return {name: weight for path in weight_files(folder) for name, weight in load_file(path).items()}


def assert_same_bytes(one, other):
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert weight.dtype == other[name].dtype
        assert weight.shape == other[name].shape
        assert raw_bytes(weight) == raw_bytes(other[name])


@BOTH
@pytest.mark.parametrize("max_shard_size", [50_000, 10**9])
def test_a_model_comes_back_bit_by_bit_under_its_official_names(request, tmp_path, published, max_shard_size):
    folder, out = request.getfixturevalue(published), tmp_path / "out"
    done = export_model(load(folder, stored_dtype=True), folder, out, max_shard_size=max_shard_size)
    assert_same_bytes(stored(out), stored(folder))
    assert done.tensors == len(stored(folder))
    assert done.size == sum(weight.nbytes for weight in stored(folder).values())
    assert (len(done.files) > 1) == (max_shard_size == 50_000)
    for path in folder.glob("*"):
        if not path.name.startswith("model"):
            assert (out / path.name).read_bytes() == path.read_bytes()


def test_shards_have_an_index_and_the_published_form_of_names(published_llada, tmp_path):
    out = tmp_path / "out"
    done = export_model(load(published_llada, stored_dtype=True), published_llada, out, max_shard_size=50_000)
    assert done.files[0] == f"model-00001-of-{len(done.files):05d}.safetensors"
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == done.size
    assert set(index["weight_map"].values()) == set(done.files)
    for file in done.files:
        with safe_open(out / file, framework="pt") as handle:
            assert handle.metadata() == {"format": "pt"}
            assert {index["weight_map"][name] for name in handle.keys()} == {file}  # noqa: SIM118
        assert sum(weight.nbytes for weight in load_file(out / file).values()) <= 50_000


def test_one_file_needs_no_index(published_llada, tmp_path):
    done = export_model(load(published_llada), published_llada, tmp_path / "out", max_shard_size=10**9)
    assert done.files == ("model.safetensors",)
    assert not (tmp_path / "out" / "model.safetensors.index.json").exists()


def test_the_tiny_model_comes_back_bit_by_bit(tmp_path):
    folder, out = tiny_weights("sudoku"), tmp_path / "out"
    lm = load_model(ModelConfig(), task="sudoku", device="cpu", stored_dtype=True)
    export_model(lm, folder, out, max_shard_size=10**9)
    assert_same_bytes(stored(out), stored(folder))
    assert (out / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert load(out).compact_prompts


def test_tied_embeddings_are_written_once(published_dream, copy_of, tmp_path):
    folder = copy_of(published_dream, tie_word_embeddings=True)
    single = {name: weight for name, weight in stored(folder).items() if name != "lm_head.weight"}
    for path in folder.glob("model*"):
        path.unlink()
    save_file(single, folder / "model.safetensors")
    export_model(load(folder, stored_dtype=True), folder, tmp_path / "out", max_shard_size=10**9)
    assert_same_bytes(stored(tmp_path / "out"), single)


@BOTH
def test_an_adapter_is_written_under_official_names_and_reloads(request, tmp_path, published):
    folder, out = request.getfixturevalue(published), tmp_path / "adapter"
    lm = with_trained_adapter(folder, targets="all")
    done = export_adapter(lm, folder, out, trained_on="GSAI-ML/LLaDA-8B-Instruct")
    assert done.tensors == 7 * 2 * 2
    reloaded = load(folder, adapter=str(out))
    assert reloaded.shape.lora_ranks == lm.shape.lora_ranks
    assert torch.equal(logits(reloaded), logits(lm))
    assert not torch.allclose(logits(reloaded), logits(load(folder)), atol=0.01)


def with_trained_adapter(folder, *, targets, **changes):
    """Adapters whose second matrices are no longer zero."""
    lm = load(folder, lora=LoraConfig(rank=3, alpha=6.0, dropout=0.1, targets=targets), **changes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in lm.predictor.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) / 8)
    return lm


def test_the_names_and_numbers_of_an_adapter_are_official(published_llada, tmp_path):
    lm = with_trained_adapter(published_llada, targets="all")
    export_adapter(lm, published_llada, tmp_path / "out", trained_on="GSAI-ML/LLaDA-8B-Instruct")
    names = load_file(tmp_path / "out" / "adapter_model.safetensors").keys()
    block = "base_model.model.model.transformer.blocks"
    parts = ("q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out")
    assert names == {f"{block}.{n}.{part}.lora_{ab}.weight" for n in range(2) for part in parts for ab in "AB"}
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(parts)
    assert config["exclude_modules"] == ["model.transformer.ff_out"]
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6.0, 0.1)
    assert config["base_model_name_or_path"] == "GSAI-ML/LLaDA-8B-Instruct"


def test_a_published_adapter_comes_back_bit_by_bit(published_llada, write_adapter, every_layer, tmp_path):
    adapter = write_adapter(every_layer)
    export_adapter(load(published_llada, adapter=str(adapter)), published_llada, tmp_path / "out", trained_on="x")
    written, published = (load_file(path / "adapter_model.safetensors") for path in (tmp_path / "out", adapter))
    assert_same_bytes(written, published)
    config, before = (json.loads((path / "adapter_config.json").read_text()) for path in (tmp_path / "out", adapter))
    assert {key: config[key] for key in ("r", "lora_alpha", "lora_dropout", "target_modules", "bias")} == {
        key: before[key] for key in ("r", "lora_alpha", "lora_dropout", "target_modules", "bias")
    }
    assert config["exclude_modules"] is None


class RemoteBlock(nn.Module):
    """The linear layers of a block of LLaDA's own code, under the names that it gives them."""

    def __init__(self):
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "attn_out"):
            self.add_module(name, nn.Linear(32, 32, bias=False))
        self.ff_proj, self.up_proj = nn.Linear(32, 48, bias=False), nn.Linear(32, 48, bias=False)
        self.ff_out = nn.Linear(48, 32, bias=False)


def remote_llada():
    """LLaDAModelLM's tree of modules, as far as adapters see it."""
    model, inner = nn.Module(), nn.Module()
    model.model = inner
    inner.transformer = nn.ModuleDict({"blocks": nn.ModuleList([RemoteBlock(), RemoteBlock()])})
    inner.transformer["wte"], inner.transformer["ff_out"] = nn.Embedding(384, 32), nn.Linear(32, 384, bias=False)
    return model


@pytest.mark.parametrize(("targets", "layers"), [("all", 14), ("official-subset", 8)])
def test_peft_puts_an_exported_adapter_on_llada_s_own_module_tree(published_llada, tmp_path, targets, layers, recwarn):
    lm = with_trained_adapter(published_llada, targets=targets)
    export_adapter(lm, published_llada, tmp_path / "out", trained_on="GSAI-ML/LLaDA-8B-Instruct")
    model = PeftModel.from_pretrained(remote_llada(), str(tmp_path / "out"))
    assert not [warning for warning in recwarn if "keys" in str(warning.message)]
    adapted = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert len(adapted) == layers
    assert "base_model.model.model.transformer.ff_out" not in adapted
    remote = adapted["base_model.model.model.transformer.blocks.1.up_proj"]
    ours = lm.predictor.transformer.model.layers[1].mlp.up_proj
    assert torch.equal(remote.get_delta_weight("default"), ours.get_delta_weight("default"))


@BOTH
def test_a_merged_model_predicts_as_the_model_with_its_adapter(request, tmp_path, published):
    folder = request.getfixturevalue(published)
    lm = with_trained_adapter(folder, targets="all")
    expected = logits(lm)
    merge_adapter(lm)
    export_model(lm, folder, tmp_path / "out", max_shard_size=10**9)
    torch.testing.assert_close(logits(load(tmp_path / "out")), expected, atol=1e-3, rtol=1e-4)


def test_only_regular_files_are_copied_beside_the_weights(published_llada, copy_of, tmp_path):
    folder = copy_of(published_llada, "with a pipe")
    os.mkfifo(folder / "pipe.py")
    (folder / "folder.py").mkdir()
    lm = load(folder, stored_dtype=True)
    export_model(lm, folder, tmp_path / "out", max_shard_size=10**9)
    copied = {path.name for path in (tmp_path / "out").iterdir()}
    assert "config.json" in copied
    assert not copied & {"pipe.py", "folder.py"}


def test_a_place_that_is_taken_is_left_alone(published_llada, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UserError, match="exists and is not an empty folder; name a new one with --out"):
        export_model(load(published_llada), published_llada, tmp_path / "out", max_shard_size=10**9)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_an_export_that_fails_leaves_nothing(tmp_path):
    def fail():
        with new_folder(tmp_path / "out") as folder:
            (folder / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_of_the_output_layer_is_written_read_and_counted(published_llada, tmp_path):
    lora = LoraConfig(rank=4, targets="all-and-head")
    lm = load(published_llada, lora=lora)
    with torch.no_grad():
        for name, weight in lm.predictor.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(len(name)))
    done = export_adapter(lm, published_llada, tmp_path / "out", trained_on="LLaDA")
    names = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {f"base_model.model.model.transformer.ff_out.lora_{part}.weight" for part in "AB"} <= names.keys()
    assert done.tensors == len(names) == 2 * (7 * lm.shape.layers + 1)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["exclude_modules"] is None
    again = load(published_llada, adapter=str(tmp_path / "out"))
    torch.testing.assert_close(logits(again), logits(lm), atol=0, rtol=0)
    without = load(published_llada, lora=LoraConfig(rank=4))
    with lm.meter.measure() as counted, without.meter.measure() as plain:
        logits(lm), logits(without)
    extra = 2 * 12 * 4 * (lm.shape.hidden + lm.shape.vocabulary)
    assert counted.forward_flops - plain.forward_flops == extra


def test_an_adapter_of_an_output_layer_that_is_the_embedding_too_is_not_merged(published_llada):
    lm = load(published_llada, lora=LoraConfig(rank=2, targets="all-and-head"))
    lm.predictor.transformer.config.tie_word_embeddings = True
    with pytest.raises(UserError, match="uses its embedding as output layer"):
        merge_adapter(lm)
