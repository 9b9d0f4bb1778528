"""config.json and names of the published layouts: what is understood, and what is refused in one sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PretrainedConfig

from harness.errors import UserError
from harness.models.config_fields import Fields
from harness.models.layout import special_tokens
from harness.models.layouts import LAYOUTS, read_config

JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def to_config(folder):
    raw = read_config(folder)
    return LAYOUTS[raw["model_type"]].config(raw, folder / "config.json")


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        ("model.embed_tokens.weight", "model.transformer.wte.weight"),
        ("model.norm.weight", "model.transformer.ln_f.weight"),
        ("lm_head.weight", "model.transformer.ff_out.weight"),
        ("model.layers.0.input_layernorm.weight", "model.transformer.blocks.0.attn_norm.weight"),
        ("model.layers.31.post_attention_layernorm.weight", "model.transformer.blocks.31.ff_norm.weight"),
        ("model.layers.10.self_attn.q_proj.weight", "model.transformer.blocks.10.q_proj.weight"),
        ("model.layers.1.self_attn.k_proj.weight", "model.transformer.blocks.1.k_proj.weight"),
        ("model.layers.1.self_attn.v_proj.weight", "model.transformer.blocks.1.v_proj.weight"),
        ("model.layers.1.self_attn.o_proj.weight", "model.transformer.blocks.1.attn_out.weight"),
        ("model.layers.1.mlp.gate_proj.weight", "model.transformer.blocks.1.ff_proj.weight"),
        ("model.layers.1.mlp.up_proj.weight", "model.transformer.blocks.1.up_proj.weight"),
        ("model.layers.1.mlp.down_proj.weight", "model.transformer.blocks.1.ff_out.weight"),
    ],
)
def test_llada_calls_the_parts_of_a_llama_by_its_own_names(ours, official):
    assert LAYOUTS["llada"].official_tensor(ours) == official


def test_dream_and_the_tiny_model_keep_the_names_of_transformers():
    name = "model.layers.3.self_attn.q_proj.bias"
    assert LAYOUTS["Dream"].official_tensor(name) == name
    assert LAYOUTS["llama"].official_tensor(name) == name


def test_dream_and_open_dcoder_alone_are_shifted_by_one():
    assert {kind for kind, layout in LAYOUTS.items() if layout.shift} == {"Dream", "qwen2"}


def test_llada_s_sizes_are_read_and_its_attention_looks_both_ways(published_llada):
    config = to_config(published_llada)
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (32, 48, 2)
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (4, 4, 384)
    assert config.rope_parameters["rope_theta"] == 500000.0
    assert config.rms_norm_eps == 1e-5
    assert config.is_causal is False
    assert config.use_cache is False


def test_llada_trains_the_embedding_of_its_padding_token(published_llada):
    assert to_config(published_llada).pad_token_id is None


def test_dream_s_sizes_are_read_and_its_attention_looks_both_ways(published_dream):
    config = to_config(published_dream)
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (32, 48, 2)
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (4, 2, 384)
    assert config.rope_parameters["rope_theta"] == 1000000.0
    assert config.rms_norm_eps == 1e-6
    assert config.is_causal is False
    assert config.use_cache is False


def test_a_null_mlp_hidden_size_means_the_ratio(published_llada, copy_of):
    assert to_config(copy_of(published_llada, mlp_hidden_size=None, mlp_ratio=3)).intermediate_size == 96


def test_a_padded_embedding_counts_not_the_vocabulary(published_llada, copy_of):
    assert to_config(copy_of(published_llada, vocab_size=380, embedding_size=384)).vocab_size == 384


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_type", "sequential"),
        ("activation_type", "gelu"),
        ("layer_norm_type", "low_precision"),
        ("rope", False),
        ("rope", None),
        ("rope_full_precision", False),
        ("layer_norm_with_affine", None),
        ("alibi", True),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("attention_layer_norm", True),
        ("input_emb_norm", True),
        ("scale_logits", True),
        ("multi_query_attention", True),
        ("residual_dropout", 0.1),
    ],
)
def test_a_llada_that_is_no_llama_is_refused_by_the_key(published_llada, copy_of, key, value):
    with pytest.raises(UserError, match=f"has {key}={value!r}, but only {key}=.* is supported"):
        to_config(copy_of(published_llada, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_sliding_window", True), ("hidden_act", "gelu"), ("attention_bias", False), ("is_causal", True)],
)
def test_a_dream_that_is_no_qwen2_is_refused_by_the_key(published_dream, copy_of, key, value):
    with pytest.raises(UserError, match=f"has {key}=.*, but only {key}=.* is supported"):
        to_config(copy_of(published_dream, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("d_model", "32"), ("d_model", None), ("n_layers", 0), ("n_heads", True), ("n_layers", 10**9), ("n_heads", 4.0)],
)
def test_a_size_that_is_no_size_is_refused_with_its_value(published_llada, copy_of, key, value):
    with pytest.raises(UserError, match=f"has {key}={value!r}, where a whole number from 1 to"):
        to_config(copy_of(published_llada, **{key: value}))


@pytest.mark.parametrize("value", [0, -1.0, "1e-5", None, True])
def test_a_number_that_is_none_is_refused_with_its_value(published_llada, copy_of, value):
    with pytest.raises(UserError, match=f"has rms_norm_eps={value!r}, where a number above 0"):
        to_config(copy_of(published_llada, rms_norm_eps=value))


@pytest.mark.parametrize("changes", [{"n_heads": 3}, {"n_kv_heads": 3}, {"d_model": 36, "n_heads": 12}])
def test_heads_that_do_not_divide_are_refused(published_llada, copy_of, changes):
    with pytest.raises(UserError, match=r"does not divide|do not fit"):
        to_config(copy_of(published_llada, **changes))


def test_an_unknown_architecture_is_refused_with_the_known_ones(published_llada, copy_of):
    with pytest.raises(UserError, match=r"Unknown architecture: .*'llada2'.* Did you mean 'llada'\? Choices: Dream, "):
        read_config(copy_of(published_llada, model_type="llada2"))


@pytest.mark.parametrize("kind", [None, ["llada"], 3])
def test_an_architecture_that_is_no_name_is_refused(published_llada, copy_of, kind):
    with pytest.raises(UserError, match="Unknown architecture"):
        read_config(copy_of(published_llada, model_type=kind))


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json; name 'tiny', 'small', a hub id, or a folder"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 10**5, b""])
def test_a_config_that_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="is not readable JSON"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"llada"'])
def test_a_config_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="does not hold a JSON object"):
        read_config(tmp_path)


@pytest.mark.parametrize("key", ["mask_token_id", "pad_token_id", "eos_token_id"])
@pytest.mark.parametrize(
    ("value", "said"), [(None, "needs this token"), ("5", "needs this"), (384, "outside"), (-1, "outside")]
)
def test_special_tokens_must_be_tokens(published_dream, copy_of, key, value, said):
    folder = copy_of(published_dream, **{key: value})
    with pytest.raises(UserError, match=f"{key}={value!r}.*{said}"):
        special_tokens(Fields(read_config(folder), folder / "config.json"))


def test_several_end_tokens_may_stand_in_config(published_llada, copy_of):
    folder = copy_of(published_llada, eos_token_id=[7, 9])
    assert special_tokens(Fields(read_config(folder), folder / "config.json")).end_ids == (7, 9)


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        ("self_attn.q_proj", "q_proj"),
        ("self_attn.o_proj", "attn_out"),
        ("mlp.gate_proj", "ff_proj"),
        ("mlp.up_proj", "up_proj"),
        ("mlp.down_proj", "ff_out"),
    ],
)
def test_llada_s_own_names_of_layers_are_ours_under_others(ours, official):
    assert LAYOUTS["llada"].official_module(f"model.layers.31.{ours}") == f"model.transformer.blocks.31.{official}"


@pytest.mark.parametrize("published", ["published_llada", "published_dream"])
@given(data=st.data())
def test_whatever_a_key_holds_it_is_understood_or_refused(request, published, data):
    folder = request.getfixturevalue(published)
    raw = json.loads((folder / "config.json").read_text())
    key = data.draw(st.sampled_from(sorted(raw.keys() - {"model_type"})))
    changed = {**raw, key: data.draw(JSON_VALUES)}
    try:
        config = LAYOUTS[raw["model_type"]].config(changed, folder / "config.json")
    except UserError:
        return
    assert isinstance(config, PretrainedConfig)
