"""What the families' checkpoints say is understood, or refused in one sentence: sizes, tokens, names, templates."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PretrainedConfig

from harness.config.tree import ModelConfig
from harness.errors import UserError
from harness.models.attention import Attention
from harness.models.checkpoints import load_model
from harness.models.config_fields import Fields
from harness.models.layouts import LAYOUTS, layout_of, read_config

NEW = ("a2d-qwen3", "a2d-qwen2", "a2d-llama", "qwen2", "sdar", "lladamoe")
EACH = pytest.mark.parametrize("family", NEW)
JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def load(folder):
    return load_model(ModelConfig(name=str(folder)), task="sudoku", device="cpu")


def to_config(folder):
    raw = read_config(folder)
    return layout_of(raw).config(raw, folder / "config.json")


def without(folder, file, *keys):
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({key: value for key, value in content.items() if key not in keys}))


def forget_mask(folder):
    """Takes the mask, the last token, out of the tokenizer."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] != 259]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    without(folder, "tokenizer_config.json", "mask_token")


def test_a_file_in_the_folder_is_a_family():
    assert sorted(LAYOUTS) == sorted(["llada", "Dream", "llama", *NEW])
    assert all(layout.model_type == name for name, layout in LAYOUTS.items())


@EACH
def test_the_mask_is_the_tokenizer_s_where_config_json_has_none(published_family, family):
    special = load(published_family(family)).special
    ends = (256, 258) if family == "sdar" else (258,)
    assert (special.mask_id, special.pad_id, special.end_ids) == (259, 256, ends)


@EACH
def test_special_tokens_of_config_json_come_first(changed, family):
    special = load(changed(family, mask_token_id=300, pad_token_id=301, eos_token_id=[302, 303])).special
    assert (special.mask_id, special.pad_id, special.end_ids[:2]) == (300, 301, (302, 303))


@pytest.mark.parametrize("family", ["a2d-qwen3", "a2d-qwen2", "a2d-llama"])
def test_a_mask_that_the_tokenizer_lacks_is_the_row_after_its_last_token(changed, family):
    folder = changed(family)
    forget_mask(folder)
    assert load(folder).special.mask_id == 259


@pytest.mark.parametrize("family", ["qwen2", "lladamoe"])
def test_an_ordinary_model_of_that_type_has_no_mask_and_is_refused(changed, family):
    folder = changed(family)
    forget_mask(folder)
    with pytest.raises(UserError, match=r"has mask_token_id=None; a masked diffusion model needs this token"):
        load(folder)


def test_a_missing_padding_or_end_token_is_refused_by_name(changed):
    folder = changed("a2d-qwen2")
    without(folder, "config.json", "eos_token_id")
    assert load(folder).special.end_ids == (258,)
    without(folder, "tokenizer_config.json", "eos_token")
    with pytest.raises(UserError, match="has eos_token_id=None"):
        load(folder)
    folder = changed("a2d-llama")
    without(folder, "tokenizer_config.json", "pad_token")
    with pytest.raises(UserError, match="has pad_token_id=None"):
        load(folder)


@EACH
def test_attention_looks_both_ways_and_tied_weights_are_one(published_family, family):
    transformer = load(published_family(family)).predictor.transformer
    assert transformer.config.is_causal is False
    tied = transformer.lm_head.weight is transformer.model.embed_tokens.weight
    assert tied == (family not in ("lladamoe", "sdar"))


def test_sizes_that_differ_between_families_are_read(published_family):
    qwen3, qwen2, llama, moe = (
        to_config(published_family(name)) for name in ("a2d-qwen3", "qwen2", "a2d-llama", NEW[-1])
    )
    assert (qwen3.head_dim, qwen3.num_key_value_heads, qwen3.hidden_size) == (16, 2, 32)
    assert qwen2.sliding_window is None
    assert llama.rope_parameters == {
        "rope_type": "llama3",
        "rope_theta": 1000000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert (moe.num_experts, moe.num_experts_per_tok) == (4, 2)
    assert (moe.moe_intermediate_size, moe.intermediate_size) == (24, 48)
    assert (moe.mlp_only_layers, moe.norm_topk_prob, moe.decoder_sparse_step) == ([0], False, 1)


def test_the_official_block_of_llada_moe_never_renormalises_whatever_its_config_says(changed):
    assert to_config(changed("lladamoe", norm_topk_prob=True)).norm_topk_prob is False


REFUSED = [
    *((family, {"is_causal": True}, "is_causal=True") for family in NEW),
    *((family, {"sliding_layers": 3}, "sliding_layers=3, which is not supported") for family in NEW),
    *((family, {"hidden_act": "gelu"}, "hidden_act='gelu'") for family in NEW),
    *((family, {"use_sliding_window": True}, "use_sliding_window=True") for family in NEW),
    *((family, {"layer_types": ["sliding_attention", "full_attention"]}, "layer_types=") for family in NEW),
    ("a2d-qwen3", {"attention_bias": True}, "attention_bias=True"),
    ("a2d-qwen3", {"head_dim": None}, "head_dim=None, where a whole number"),
    ("a2d-qwen3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling.rope_type='yarn'"),
    ("a2d-qwen2", {"attention_bias": False}, "attention_bias=False"),
    ("a2d-qwen2", {"head_dim": 4}, "a head_dim of its own, which Qwen2 does not have"),
    ("sdar", {"block_size": None}, "block_size=None, where a whole number"),
    ("sdar", {"block_size": "4"}, "block_size='4', where a whole number"),
    ("a2d-llama", {"hidden_size": 30}, "hidden_size=30, where a multiple of num_attention_heads=4 is needed"),
    ("a2d-llama", {"pretraining_tp": 2}, "pretraining_tp=2"),
    ("a2d-llama", {"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling.factor=None, where a number above 0"),
    (
        "a2d-llama",
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}},
        r"rope_scaling.high_freq_factor=4.0, where more than low_freq_factor=4.0 is needed",
    ),
    ("lladamoe", {"shared_expert_intermediate_size": 24}, "shared_expert_intermediate_size=24"),
    ("lladamoe", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ("lladamoe", {"moe_router_enable_expert_bias": True}, "moe_router_enable_expert_bias=True"),
    ("lladamoe", {"clip_qkv": 8.0}, "clip_qkv=8.0"),
    ("lladamoe", {"qk_layernorm": False}, "qk_layernorm=False"),
    ("lladamoe", {"moe_router_score_function": "sigmoid"}, "moe_router_score_function='sigmoid'"),
    ("lladamoe", {"routed_scaling_factor": 2.5}, "routed_scaling_factor=2.5"),
    ("lladamoe", {"moe_layer_freq": [1]}, "moe_layer_freq=.*, where a list of 2 zeros and ones is needed"),
    ("lladamoe", {"num_experts_per_tok": 5}, "num_experts_per_tok=5, where a whole number from 1 to 4"),
    ("lladamoe", {"dense_intermediate_size": None}, "dense_intermediate_size=None, where a whole number"),
    ("lladamoe", {"head_dim": 16}, "a head_dim of its own, which LLaDA-MoE does not have"),
]


@pytest.mark.parametrize(("family", "changes", "said"), REFUSED)
def test_what_the_transformers_class_does_not_have_is_refused_by_name(changed, family, changes, said):
    with pytest.raises(UserError, match=said):
        to_config(changed(family, **changes))


@EACH
@given(data=st.data())
def test_whatever_a_key_holds_it_is_understood_or_refused(published_family, family, data):
    place = published_family(family) / "config.json"
    raw = json.loads(place.read_text())
    key = data.draw(st.sampled_from(sorted(raw.keys() - {"model_type"})))
    try:
        config = LAYOUTS[family].config({**raw, key: data.draw(JSON_VALUES)}, place)
    except UserError:
        return
    assert isinstance(config, PretrainedConfig)


def test_sdar_s_block_is_that_of_config_json_and_its_ends_those_of_generation_config(changed):
    folder = changed("sdar", block_size=16)
    (folder / "generation_config.json").write_text('{"eos_token_id": [270, 256]}')
    model = load(folder)
    assert model.attention == Attention(block_length=16, blocks_from="sequence")
    assert model.special.end_ids == (256, 270, 258)
    text_alone = load_model(ModelConfig(name=str(folder)), task="sudoku", device="cpu", turns_end=False)
    assert text_alone.special.end_ids == (256,)
    (folder / "generation_config.json").write_text('{"eos_token_id": 384}')
    with pytest.raises(UserError, match="eos_token_id=384, outside the vocabulary of 384 tokens"):
        load(folder)


@pytest.mark.parametrize("family", ["a2d-qwen3", "a2d-qwen2", "a2d-llama"])
def test_a2d_attends_by_blocks_where_its_name_or_its_config_json_says_so(published_family, changed, family):
    blocks_of_32 = Attention(block_length=32, blocks_from="completion")
    assert load(published_family(family, "bd3lm-v0.1")).attention == blocks_of_32
    raw, attention = read_config(published_family(family)), LAYOUTS[family].attention
    for name, expected in (
        ("hub/models--dllm-hub--x-bd3lm-v0.1/snapshots/0123", blocks_of_32),
        ("bd3lm/x-mdlm", Attention()),
        ("mdlm/x-bd3lm@main", blocks_of_32),
        ("dllm-hub/x", Attention()),
    ):
        assert attention(Fields(raw, Path()), name) == expected
    assert load(published_family(family)).attention == Attention()
    assert load(changed(family, block_size=32)).attention == blocks_of_32


@EACH
def test_an_empty_block_of_thoughts_is_part_of_a2d_qwen3_s_prompts_alone(published_family, family):
    text = load(published_family(family)).tokenizer.apply_chat_template([{"role": "user", "content": "2 + 2?"}])
    thoughts = "<think></think>" if family == "a2d-qwen3" else ""
    assert text == f"user: 2 + 2?\nassistant: {thoughts}"
