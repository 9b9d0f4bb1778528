"""Published checkpoints load with every tensor in its place, or are refused before anything is allocated."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.config.tree import LoraConfig, ModelConfig
from harness.errors import UserError
from harness.models import checkpoints
from harness.models.checkpoints import empty_model, load_model, open_checkpoint
from harness.models.files import fingerprint, weight_files
from harness.models.layouts import LAYOUTS, read_config
from harness.models.tokenizers import CheckpointTokenizer

TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44], [9, 9, 130, 2, 77, 61]])
EVERYWHERE = torch.arange(6).expand(2, -1)
BOTH = pytest.mark.parametrize("published", ["published_llada", "published_dream"])


def load(folder, **changes):
    return load_model(ModelConfig(name=str(folder), **changes), task="sudoku", device="cpu")


def stored(folder):
    return {name: weight for path in weight_files(folder) for name, weight in load_file(path).items()}


def rewrite(folder, name, change):
    """Applies `change` to the one file that holds tensor `name`; None takes the tensor out."""
    path = next(path for path in weight_files(folder) if name in load_file(path))
    weights = load_file(path)
    changed = change(weights.pop(name))
    save_file(weights if changed is None else {**weights, name: changed}, path)


@pytest.fixture
def no_loading(monkeypatch):
    """Fails where weights are loaded: what is wrong must be found before."""

    def load(self, *arguments):
        pytest.fail("weights were loaded")

    monkeypatch.setattr(checkpoints.Checkpoint, "load", load)


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        ("model.embed_tokens.weight", "model.transformer.wte.weight"),
        ("model.layers.1.self_attn.o_proj.weight", "model.transformer.blocks.1.attn_out.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "model.transformer.blocks.0.ff_proj.weight"),
        ("model.layers.0.mlp.down_proj.weight", "model.transformer.blocks.0.ff_out.weight"),
        ("lm_head.weight", "model.transformer.ff_out.weight"),
    ],
)
def test_a_sharded_llada_loads_every_tensor_in_its_place(published_llada, ours, official):
    state = load(published_llada).predictor.transformer.state_dict()
    assert len(state) == 21
    assert torch.equal(state[ours], stored(published_llada)[official].float())


def test_the_fixture_has_three_shards(published_llada):
    assert len(list(published_llada.glob("model-*-of-00003.safetensors"))) == 3


def test_one_file_is_as_good_as_three(published_llada, copy_of):
    folder = copy_of(published_llada)
    weights = stored(folder)
    for path in folder.glob("model*"):
        path.unlink()
    save_file(weights, folder / "model.safetensors")
    one, three = load(folder), load(published_llada)
    assert torch.equal(one.logits(TOKENS, None, EVERYWHERE), three.logits(TOKENS, None, EVERYWHERE))


@torch.no_grad()
def test_dream_predicts_a_token_from_the_position_before_it(published_dream):
    lm = load(published_dream)
    raw = lm.predictor.transformer(input_ids=TOKENS).logits
    logits = lm.logits(TOKENS, None, EVERYWHERE)
    torch.testing.assert_close(logits[:, 1:], raw[:, :-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[:, 0], raw[:, 0], atol=1e-5, rtol=0)
    assert not torch.allclose(logits[:, 1:], raw[:, 1:], atol=1e-2)


@BOTH
@torch.no_grad()
def test_every_position_sees_the_last_token(request, published):
    lm = load(request.getfixturevalue(published))
    changed = TOKENS.clone()
    changed[:, -1] = 3
    before, after = (lm.logits(tokens, None, EVERYWHERE) for tokens in (TOKENS, changed))
    assert ((before - after).abs().amax(-1)[:, :3] > 1e-3).all()


@BOTH
@torch.no_grad()
def test_left_padding_changes_nothing(request, published):
    lm = load(request.getfixturevalue(published))
    padded = torch.cat([torch.full((2, 3), lm.special.pad_id), TOKENS], 1)
    mask = (torch.arange(9) >= 3).expand(2, -1)
    # Dream's first real position is predicted from the padding before it; prompts are never predicted.
    expected = lm.logits(TOKENS, None, EVERYWHERE)[:, 1:]
    torch.testing.assert_close(lm.logits(padded, mask, EVERYWHERE + 3)[:, 1:], expected, atol=1e-4, rtol=0)


@BOTH
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@torch.no_grad()
def test_other_dtypes_load_and_predict_nearly_the_same(request, published, dtype):
    folder = request.getfixturevalue(published)
    lm, exact = load(folder, dtype=dtype), load(folder)
    assert {weight.dtype for weight in lm.predictor.parameters()} == {getattr(torch, dtype)}
    logits = lm.logits(TOKENS, None, EVERYWHERE)
    assert logits.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    expected = exact.logits(TOKENS, None, EVERYWHERE)
    assert (logits - expected).norm() / expected.norm() < 0.05


def test_the_files_own_dtype_can_be_kept(published_llada, published_dream):
    for folder, dtype in ((published_llada, torch.bfloat16), (published_dream, torch.float32)):
        lm = load_model(ModelConfig(name=str(folder)), task="sudoku", device="cpu", stored_dtype=True)
        assert {weight.dtype for weight in lm.predictor.parameters()} == {dtype}


def test_both_end_tokens_of_llada_end_a_completion(published_llada):
    lm = load(published_llada)
    vocabulary = lm.tokenizer.backend.get_vocab()
    assert lm.special.end_ids == (vocabulary["<|endoftext|>"], vocabulary["<|eot_id|>"])
    for end in lm.special.end_ids:
        assert lm.completion_lengths(torch.tensor([[65, 66, end, 67]])).tolist() == [2]


def test_both_end_tokens_of_dream_end_a_completion(published_dream):
    lm = load(published_dream)
    vocabulary = lm.tokenizer.backend.get_vocab()
    assert lm.special.end_ids == (vocabulary["<|endoftext|>"], vocabulary["<|im_end|>"])
    assert lm.special.mask_id == vocabulary["<|mask|>"]


@BOTH
def test_remote_code_beside_a_checkpoint_is_never_run(request, published):
    folder = request.getfixturevalue(published)
    assert "raise SystemExit" in next(folder.glob("modeling_*.py")).read_text()
    assert isinstance(load(folder).tokenizer, CheckpointTokenizer)


@BOTH
def test_tied_embeddings_are_the_output_layer(request, published, copy_of):
    official = {"published_llada": "model.transformer.ff_out.weight", "published_dream": "lm_head.weight"}[published]
    key = {"published_llada": "weight_tying", "published_dream": "tie_word_embeddings"}[published]
    folder = copy_of(request.getfixturevalue(published), **{key: True})
    rewrite(folder, official, lambda weight: None)
    transformer = load(folder).predictor.transformer
    assert transformer.lm_head.weight is transformer.model.embed_tokens.weight
    assert transformer.lm_head.weight.abs().sum() > 0


# What is refused


@pytest.mark.parametrize("keep", [-1, 100, 4, 0])
def test_a_truncated_shard_is_refused(published_llada, copy_of, no_loading, keep):
    folder = copy_of(published_llada)
    shard = folder / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model-00002-of-00003\.safetensors' is not a readable safetensors file"):
        load(folder)


def test_a_shard_of_garbage_is_refused(published_llada, copy_of, no_loading):
    folder = copy_of(published_llada)
    (folder / "model-00001-of-00003.safetensors").write_bytes(os.urandom(5000))
    with pytest.raises(UserError, match=r"model-00001-of-00003\.safetensors' is not a readable safetensors file"):
        load(folder)


def test_a_shard_that_is_not_there_is_refused(published_llada, copy_of, no_loading):
    folder = copy_of(published_llada)
    (folder / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks the shard\(s\) model-00003-of-00003\.safetensors that its index"):
        load(folder)


def test_a_folder_without_weights_is_refused(published_llada, copy_of):
    folder = copy_of(published_llada)
    for path in folder.glob("model*"):
        path.unlink()
    with pytest.raises(UserError, match=r"has neither model\.safetensors nor model\.safetensors\.index\.json"):
        load(folder)


@pytest.mark.parametrize(
    "index",
    [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "../x.safetensors"}}],
)
def test_an_index_without_file_names_is_refused(published_llada, copy_of, index):
    folder = copy_of(published_llada)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="has no weight_map of tensor names to file names"):
        load(folder)


def test_a_missing_tensor_is_refused_by_its_published_name(published_llada, copy_of, no_loading):
    folder = copy_of(published_llada)
    rewrite(folder, "model.transformer.blocks.1.attn_out.weight", lambda weight: None)
    with pytest.raises(UserError, match=r"lacks 1 tensor\(s\), the first is model\.transformer\.blocks\.1\.attn_out"):
        load(folder)


@BOTH
def test_a_tensor_of_another_shape_is_refused(request, published, copy_of, no_loading):
    name = {
        "published_llada": "model.transformer.blocks.0.up_proj.weight",
        "published_dream": "model.layers.0.mlp.up_proj.weight",
    }[published]
    folder = copy_of(request.getfixturevalue(published))
    rewrite(folder, name, lambda weight: weight[:-1].contiguous())
    with pytest.raises(UserError, match=r"has shape \(47, 32\), config\.json asks for \(48, 32\)"):
        load(folder)


def test_a_tensor_too_many_is_refused(published_dream, copy_of, no_loading):
    folder = copy_of(published_dream, num_hidden_layers=1)
    with pytest.raises(UserError, match=r"has 12 tensor\(s\) that config\.json does not ask for, the first is"):
        load(folder)


def test_a_tensor_under_transformers_name_in_llada_s_layout_is_refused(published_llada, copy_of, no_loading):
    folder = copy_of(published_llada)
    path = weight_files(folder)[0]
    weights = load_file(path)
    weights["model.embed_tokens.weight"] = weights.pop("model.transformer.wte.weight")
    save_file(weights, path)
    with pytest.raises(UserError, match=r"lacks 1 tensor\(s\), the first is model\.transformer\.wte\.weight"):
        load(folder)


def test_a_tensor_in_two_shards_is_refused(published_llada, copy_of, no_loading):
    folder = copy_of(published_llada)
    first, second, _ = weight_files(folder)
    weights, others = load_file(first), load_file(second)
    name = min(weights)
    save_file({**others, name: weights[name]}, second)
    with pytest.raises(UserError, match=f"Tensor {name} stands in more than one file"):
        load(folder)


def test_whole_numbers_for_weights_are_refused(published_dream, copy_of, no_loading):
    folder = copy_of(published_dream)
    rewrite(folder, "model.norm.weight", lambda weight: weight.to(torch.int8))
    with pytest.raises(UserError, match=r"Tensor model\.norm\.weight of .* is I8; F64, F32, F16, BF16 are known"):
        load(folder)


def test_sizes_beyond_any_memory_are_refused_by_the_headers(published_llada, copy_of):
    folder = copy_of(published_llada, d_model=1 << 20, mlp_hidden_size=1 << 22, n_layers=1000, n_heads=1 << 10)
    with pytest.raises(UserError, match=r"lacks 8982 tensor\(s\)"):
        load(folder)


def test_a_name_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is neither a folder nor a hub id such as GSAI-ML/LLaDA-8B-Instruct"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("dtype", ["float", "int8", "tensor"])
def test_an_unknown_dtype_is_refused(published_llada, dtype):
    with pytest.raises(UserError, match=f"Unknown model.dtype '{dtype}'"):
        load(published_llada, dtype=dtype)


# What is recorded and warned of


def test_the_fingerprint_covers_every_byte_of_every_shard(published_llada, copy_of):
    folder = copy_of(published_llada)
    before = fingerprint(weight_files(folder))
    assert len(before) == 16
    assert load(folder).fingerprint == before
    rewrite(folder, "model.transformer.ln_f.weight", lambda weight: weight + 1)
    assert fingerprint(weight_files(folder)) != before


def test_the_fingerprint_covers_the_adapter(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    with_adapter = load(published_llada, adapter=str(adapter))
    assert with_adapter.fingerprint != load(published_llada).fingerprint
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    weights[min(weights)] += 1
    save_file(weights, path)
    assert load(published_llada, adapter=str(adapter)).fingerprint != with_adapter.fingerprint


def test_an_instruct_model_with_a_template_gives_no_warning(published_llada):
    assert load(published_llada).warnings == ()


@pytest.mark.parametrize("name", ["LLaDA-Tiny-Base", "Dream-v0-Base-7B", "llada_base"])
def test_a_base_model_by_name_is_warned_of(published_llada, copy_of, name):
    (warning,) = load(copy_of(published_llada, name)).warnings
    assert "is a base model by its name, but gets chat prompts" in warning


@pytest.mark.parametrize("name", ["LLaDA-1.5", "baseline", "my-database"])
def test_other_names_are_no_base_models(published_llada, copy_of, name):
    assert load(copy_of(published_llada, name)).warnings == ()


def test_a_tokenizer_without_template_is_warned_of_and_gets_plain_text(published_llada, copy_of):
    folder = copy_of(published_llada)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["chat_template"]
    path.write_text(json.dumps(config))
    lm = load(folder)
    (warning,) = lm.warnings
    assert "has no chat template" in warning
    assert lm.tokenizer.apply_chat_template([{"role": "user", "content": " 2 + 2? "}]) == "2 + 2?\n\n"


def test_an_adapter_of_the_other_kind_of_model_is_warned_of(published_llada, write_adapter, official_subset):
    same = write_adapter(official_subset, name="same")
    other = write_adapter(official_subset, name="other", base_model_name_or_path="GSAI-ML/LLaDA-8B-Base")
    assert load(published_llada, adapter=str(same)).warnings == ()
    (warning,) = load(published_llada, adapter=str(other)).warnings
    assert "was trained on 'GSAI-ML/LLaDA-8B-Base', but is put on" in warning


def test_the_tiny_model_gives_no_warning():
    assert load_model(ModelConfig(), task="sudoku", device="cpu").warnings == ()


def test_low_rank_adapters_go_on_both_families(published_llada, published_dream):
    for folder in (published_llada, published_dream):
        lm = load(folder, lora=LoraConfig(rank=2))
        assert set(lm.shape.lora_ranks) == {
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        }
        trunk = sum(layer.inputs * layer.outputs * layer.times for layer in lm.shape.linear_layers)
        assert trunk + lm.shape.hidden * lm.shape.vocabulary == open_checkpoint_parameters(folder)


def open_checkpoint_parameters(folder):
    """Matrices of the trunk and the head, counted in the files."""
    skipped = ("embed_tokens", "wte")
    matrices = {name: weight for name, weight in stored(folder).items() if weight.ndim == 2}
    return sum(weight.numel() for name, weight in matrices.items() if name.split(".")[-2] not in skipped)


def test_reading_a_checkpoint_takes_no_memory_for_its_weights(published_dream):
    checkpoint = open_checkpoint(published_dream, read_config(published_dream))
    assert {weight.device.type for weight in empty_model(checkpoint.layout, checkpoint.config).parameters()} == {"meta"}


def test_a_folder_loads_as_a_bare_transformer(published_dream):
    model = open_checkpoint(published_dream, read_config(published_dream)).load(torch.float32)
    assert torch.equal(model.lm_head.weight, stored(published_dream)["lm_head.weight"])


def test_llada_8b_has_exactly_the_published_number_of_bytes(published_llada, copy_of):
    sizes = {"d_model": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 32, "mlp_hidden_size": 12288}
    folder = copy_of(published_llada, **sizes, vocab_size=126464, embedding_size=126464)
    config = LAYOUTS["llada"].config(read_config(folder), folder / "config.json")
    model = empty_model(LAYOUTS["llada"], config)
    assert 2 * sum(weight.numel() for weight in model.parameters()) == 16_031_162_368
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
