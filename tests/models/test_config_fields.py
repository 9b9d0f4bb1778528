"""Every key of a config.json is followed, says nothing about the function, or is refused by its name."""

import json
import shutil

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config

from harness.config.tree import ModelConfig
from harness.errors import UserError
from harness.models.checkpoints import load_model
from harness.models.layouts import layout_of, read_config
from harness.models.tiny import tiny_weights

TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44]])
EVERYWHERE = torch.arange(6).expand(1, -1)
BOTH = pytest.mark.parametrize("published", ["published_llada", "published_dream"])


def to_config(folder):
    raw = read_config(folder)
    return layout_of(raw).config(raw, folder / "config.json")


def logits(folder):
    lm = load_model(ModelConfig(name=str(folder)), task="sudoku", device="cpu")
    with torch.no_grad():
        return lm.logits(TOKENS, None, EVERYWHERE)


def without(folder, *keys):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in keys}))
    return folder


# transformers 5 writes the rotary embeddings into one object, and `dtype` instead of `torch_dtype`.


@BOTH
def test_a_checkpoint_saved_by_transformers_5_gives_the_logits_of_the_published_one(request, published, copy_of):
    folder = request.getfixturevalue(published)
    theta = json.loads((folder / "config.json").read_text())["rope_theta"]
    newer = copy_of(
        folder,
        rope_parameters={"rope_theta": theta, "rope_type": "default"},
        dtype="bfloat16",
        transformers_version="5.0.0",
    )
    assert torch.equal(logits(without(newer, "rope_theta", "rope_scaling", "torch_dtype")), logits(folder))


def test_a_dream_configuration_as_qwen2_s_own_class_writes_it_loads(published_dream, copy_of):
    raw = json.loads((published_dream / "config.json").read_text())
    sizes = {key: value for key, value in raw.items() if key not in ("model_type", "auto_map", "torch_dtype")}
    written = Qwen2Config(**sizes, dtype=torch.bfloat16).to_dict()
    assert "rope_theta" not in written
    folder = copy_of(published_dream)
    kept = {key: raw[key] for key in ("model_type", "auto_map", "mask_token_id")}
    (folder / "config.json").write_text(json.dumps(written | kept))
    assert to_config(folder).rope_parameters["rope_theta"] == 1000000.0
    assert torch.equal(logits(folder), logits(published_dream))


def test_a_llama_configuration_as_its_own_class_writes_it_loads(tmp_path):
    shipped = tiny_weights("sudoku")
    raw = json.loads((shipped / "config.json").read_text())
    written = LlamaConfig(**{key: value for key, value in raw.items() if key != "model_type"}).to_dict()
    shutil.copytree(shipped, tmp_path / "tiny")
    (tmp_path / "tiny" / "config.json").write_text(json.dumps(written))
    assert to_config(tmp_path / "tiny").to_dict() == to_config(shipped).to_dict()


@BOTH
@pytest.mark.parametrize(
    "rope",
    [
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_scaling": {}},
        {"rope_parameters": None},
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}},
        {"rope_parameters": {"rope_type": "default", "factor": None}},
        {"partial_rotary_factor": None},
    ],
)
def test_rotary_embeddings_of_the_default_kind_may_be_written_in_many_ways(request, published, copy_of, rope):
    folder = request.getfixturevalue(published)
    assert to_config(copy_of(folder, **rope)).rope_parameters == to_config(folder).rope_parameters


@BOTH
@pytest.mark.parametrize(
    ("rope", "said"),
    [
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, r"has rope_scaling\.type='yarn', but only"),
        ({"rope_scaling": {"rope_type": "llama3"}}, r"has rope_scaling\.rope_type='llama3', but only"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, r"has rope_parameters\.rope_type='linear', but"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, r"has rope_parameters\.rope_type='dynamic', but only"),
        ({"rope_parameters": {"factor": 2.0}}, r"has rope_parameters\.factor=2\.0, which is not supported"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, r"has rope_parameters\.full_attention="),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, r"has rope_parameters\.partial_rotary_factor=0\.5, but"),
        ({"partial_rotary_factor": 0.25}, r"has partial_rotary_factor=0\.25, but only 1 is supported"),
        ({"rope_parameters": {"rope_theta": 7.0}}, r"has two values of rope_theta, 7\.0 and \d+\.0; keep one"),
        ({"rope_parameters": {"rope_theta": "1e6"}}, r"has rope_parameters\.rope_theta='1e6', where a number above 0"),
        ({"rope_parameters": [1]}, r"has rope_parameters=\[1\], where an object is needed"),
        ({"rope_theta": 10**400}, r"has rope_theta=1\d+\.\.\.\d+, where a number above 0 is needed"),
    ],
)
def test_other_rotary_embeddings_are_refused_by_name(request, published, copy_of, rope, said):
    with pytest.raises(UserError, match=said):
        to_config(copy_of(request.getfixturevalue(published), **rope))


@BOTH
def test_rotary_embeddings_without_theta_are_refused(request, published, copy_of):
    with pytest.raises(UserError, match="has rope_theta=None, where a number above 0 is needed"):
        to_config(without(copy_of(request.getfixturevalue(published)), "rope_theta"))


# Other keys


@BOTH
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sliding_window_pattern", 6),
        ("quantization_config", {"bits": 4}),
        ("use_qk_norm", True),
        ("logits_soft_cap", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("is_encoder_decoder", True),
        ("clip_qkv", 8.0),
        ("mlp_bias", True),
        ("num_experts", 0),
        ("residual_scale", 0.5),
        ("a_key_of_tomorrow", "x"),
    ],
)
def test_a_key_that_nobody_reads_is_refused_where_it_is_set(request, published, copy_of, key, value):
    with pytest.raises(UserError, match=f"has {key}=.*, which is not supported; take it out if it does not change"):
        to_config(copy_of(request.getfixturevalue(published), **{key: value}))


@BOTH
@pytest.mark.parametrize("value", [None, False, {}, [], ""])
def test_a_key_that_nobody_reads_may_be_empty(request, published, copy_of, value):
    folder = request.getfixturevalue(published)
    assert to_config(copy_of(folder, a_key_of_tomorrow=value)).to_dict() == to_config(folder).to_dict()


@BOTH
def test_what_says_nothing_about_the_function_is_left_alone(request, published, copy_of):
    folder = request.getfixturevalue(published)
    about = {
        "_name_or_path": "x",
        "attn_implementation": "sdpa",
        "dtype": "float16",
        "id2label": {"0": "LABEL_0"},
        "max_length": 20,
        "temperature": 0.2,
        "transformers_version": "4.46.3",
        "unsloth_version": "2025.1",
        "use_cache": True,
    }
    assert to_config(copy_of(folder, **about)).to_dict() == to_config(folder).to_dict()


@pytest.mark.parametrize(
    ("kinds", "allowed"),
    [(["full_attention"] * 2, True), (None, True), (["full_attention", "sliding_attention"], False), (3, False)],
)
def test_dream_attends_to_everything_in_every_layer(published_dream, copy_of, kinds, allowed):
    folder = copy_of(published_dream, layer_types=kinds)
    if allowed:
        assert to_config(folder).to_dict() == to_config(published_dream).to_dict()
        return
    with pytest.raises(UserError, match=r"has layer_types=.*, but only 'full_attention' is supported"):
        to_config(folder)


def test_a_window_that_is_switched_off_is_none(published_dream, copy_of):
    folder = copy_of(published_dream, sliding_window=4096, use_sliding_window=False)
    assert to_config(folder).to_dict() == to_config(published_dream).to_dict()


@pytest.mark.parametrize("key", ["block_type", "activation_type", "layer_norm_type", "rope"])
def test_what_llada_s_own_code_takes_for_another_kind_has_to_be_stated(published_llada, copy_of, key):
    with pytest.raises(UserError, match=f"has {key}=None, but only {key}=.* is supported"):
        to_config(without(copy_of(published_llada), key))


def test_llada_s_embeddings_are_tied_where_nothing_is_said(published_llada, copy_of):
    assert to_config(without(copy_of(published_llada, "a"), "weight_tying")).tie_word_embeddings
    assert not to_config(copy_of(published_llada, "b", weight_tying=None)).tie_word_embeddings
    assert not to_config(
        copy_of(published_llada, "c", weight_tying=False, tie_word_embeddings=True)
    ).tie_word_embeddings
