"""Every field of peft's LoraConfig is followed as peft follows it, has no effect in peft either, or is refused."""

import dataclasses
import json

import peft
import pytest
import torch
from peft import PeftModel

from harness.config.tree import ModelConfig
from harness.errors import UserError
from harness.models.adapter_config import WITHOUT_EFFECT, read_adapter_config
from harness.models.checkpoints import load_model

TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44], [9, 9, 130, 2, 77, 61]])
EVERYWHERE = torch.arange(6).expand(2, -1)
FOLLOWED = {
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "peft_type",
    "r",
    "target_modules",
    "use_rslora",
}
FIELDS = {field.name for field in dataclasses.fields(peft.LoraConfig)}
PISSA = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj"],
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "x",
    "init_lora_weights": "pissa",
}


def load(folder, **changes):
    return load_model(ModelConfig(name=str(folder), **changes), task="sudoku", device="cpu")


def logits(lm):
    with torch.no_grad():
        return lm.logits(TOKENS, None, EVERYWHERE)


def by_peft(folder, adapter):
    """The logits where peft itself puts the adapter on, from its two files."""
    lm = load(folder)
    lm.set_model(PeftModel.from_pretrained(lm.predictor.transformer, str(adapter)), {})
    return logits(lm)


def without(adapter, *keys):
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in keys}))
    return adapter


@pytest.fixture
def dream_adapter(write_adapter):
    """An adapter of q_proj and down_proj in both blocks of Dream, whose layers have transformers' names."""

    def write(**config):
        modules = {f"model.layers.{number}.self_attn.q_proj": (32, 32) for number in range(2)}
        modules |= {f"model.layers.{number}.mlp.down_proj": (48, 32) for number in range(2)}
        return write_adapter(modules, **config)

    return write


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"lora_alpha": 3.5},
        {"lora_dropout": 0.5},
        {"init_lora_weights": False},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": None},
        {"rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": None, "use_dora": False},
        {"target_modules": ".*(q|down)_proj"},
        {"target_modules": "all-linear"},
        {"target_modules": ["self_attn.q_proj", "model.layers.0.mlp.down_proj", "1.mlp.down_proj"]},
        {"exclude_modules": ["lm_head", "v_proj"]},
        {"target_modules": ["q_proj", "down_proj", "lm_head"], "exclude_modules": "lm_.*"},
    ],
)
def test_what_is_followed_gives_peft_s_own_logits(published_dream, dream_adapter, config):
    adapter = dream_adapter(**config)
    lm = load(published_dream, adapter=str(adapter))
    assert lm.shape.lora_ranks == {"q_proj": 4, "down_proj": 4}
    torch.testing.assert_close(logits(lm), by_peft(published_dream, adapter), atol=0, rtol=0)
    assert not torch.allclose(logits(lm), logits(load(published_dream)), atol=0.1)


@pytest.mark.parametrize(
    ("rank", "missing"),
    [(4, ["lora_alpha"]), (8, ["r", "lora_alpha"]), (8, ["r"]), (4, ["bias", "lora_dropout", "task_type"])],
)
def test_a_missing_field_has_peft_s_default(published_dream, dream_adapter, rank, missing):
    adapter = without(dream_adapter(rank=rank), *missing)
    found = logits(load(published_dream, adapter=str(adapter)))
    torch.testing.assert_close(found, by_peft(published_dream, adapter), atol=0, rtol=0)
    assert not torch.allclose(found, logits(load(published_dream)), atol=0.1)


def test_a_missing_alpha_is_8_and_the_scale_with_it(dream_adapter):
    config = read_adapter_config(without(dream_adapter(), "lora_alpha") / "adapter_config.json")
    assert (config.rank, config.alpha) == (4, 8)


SET_VALUES = {
    "auto_mapping": {"base_model_class": "x", "parent_library": "y"},
    "corda_config": {"corda_method": "ipm"},
    "eva_config": {"rho": 2.0},
    "fan_in_fan_out": True,
    "inference_mode": True,
    "loftq_config": {"loftq_bits": 4},
    "lora_ga_config": {"direction": "ArBr"},
    "megatron_core": "megatron.other",
    "peft_version": "0.18.0",
    "qalora_group_size": 4,
    "revision": "main",
    "runtime_config": {"ephemeral_gpu_offload": True},
    "task_type": "FEATURE_EXTRACTION",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", sorted(WITHOUT_EFFECT))
def test_what_has_no_effect_here_has_none_in_peft_either(published_dream, dream_adapter, key):
    adapter = dream_adapter(**{key: SET_VALUES[key]})
    plain = logits(load(published_dream, adapter=str(dream_adapter(name="plain"))))
    assert torch.equal(logits(load(published_dream, adapter=str(adapter))), plain)
    if key != "runtime_config":  # peft leaves it out of the file, and takes no dictionary for it
        assert torch.equal(by_peft(published_dream, adapter), plain)


def test_the_lists_name_fields_of_peft():
    assert FOLLOWED | WITHOUT_EFFECT <= FIELDS
    assert not FOLLOWED & WITHOUT_EFFECT
    assert {"use_dora", "rank_pattern", "layers_to_transform"} <= FIELDS - FOLLOWED - WITHOUT_EFFECT


@pytest.mark.parametrize("key", sorted(FIELDS - FOLLOWED - WITHOUT_EFFECT))
@pytest.mark.parametrize("value", [True, 0, [0], {"q_proj": 8}, "x"])
def test_every_other_field_is_refused_by_name_where_it_is_set(dream_adapter, key, value):
    path = dream_adapter(**{key: value}) / "adapter_config.json"
    with pytest.raises(UserError, match=f"has {key}=.*, which is not supported; merge the adapter into its model"):
        read_adapter_config(path)


@pytest.mark.parametrize("key", sorted(FIELDS - FOLLOWED - WITHOUT_EFFECT))
@pytest.mark.parametrize("value", [None, False, [], {}, ""])
def test_a_field_that_is_empty_is_as_good_as_missing(dream_adapter, key, value):
    assert read_adapter_config(dream_adapter(**{key: value}) / "adapter_config.json").rank == 4


def test_a_field_that_peft_does_not_have_yet_is_refused_where_it_is_set(dream_adapter):
    path = dream_adapter(use_a_later_kind=True) / "adapter_config.json"
    with pytest.raises(UserError, match="has use_a_later_kind=True, which is not supported"):
        read_adapter_config(path)


@pytest.mark.parametrize(
    "value",
    [
        "pissa",
        "PiSSA",
        "pissa_niter_16",
        "olora",
        "corda",
        "loftq",
        "eva",
        "orthogonal",
        "mica",
        "lora_ga",
        "True",
        1,
        {},
    ],
)
def test_an_initialisation_that_may_change_the_weights_below_is_refused(tmp_path, value):
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(PISSA | {"init_lora_weights": value}))
    with pytest.raises(UserError, match=r"has init_lora_weights=.*only true, false and 'gaussian' are supported: save"):
        read_adapter_config(path)


def test_a_pissa_adapter_is_refused_where_its_logits_would_be_wrong(published_dream, dream_adapter):
    """peft takes the adapter's own start off the weights below it, so that the plain sum is another function."""
    adapter = dream_adapter(init_lora_weights="pissa", target_modules=["q_proj", "down_proj"])
    with pytest.raises(UserError, match="has init_lora_weights='pissa', which may change the weights below"):
        load(published_dream, adapter=str(adapter))
    plain = logits(load(published_dream, adapter=str(dream_adapter(name="plain"))))
    assert (by_peft(published_dream, adapter) - plain).abs().max() > 0.5


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"target_modules": None}, "target_modules=None, where a list of layers or a pattern"),
        ({"target_modules": ["q_proj", 3]}, r"target_modules=\['q_proj', 3\], where a list"),
        ({"exclude_modules": {"a": 1}}, r"exclude_modules=\{'a': 1\}, where a list"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan, where a number from 0"),
        ({"lora_alpha": 10**400}, r"lora_alpha=10+\.\.\.0+, where a number from 0"),
        ({"lora_dropout": 1.5}, "lora_dropout=1.5, where a number from 0 to 1"),
        ({"use_rslora": "false"}, "use_rslora='false', where true or false"),
        ({"r": True}, "r=True, where a whole number from 1"),
        ({"peft_type": None}, "peft_type=None, but only 'LORA' is supported"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(dream_adapter, config, said):
    with pytest.raises(UserError, match=said):
        read_adapter_config(dream_adapter(**config) / "adapter_config.json")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"exclude_modules": ["q_proj"]}, r"tensors of \['q_proj'\], unlike its target_modules"),
        ({"exclude_modules": r".*0\.mlp.*"}, r"tensors of \['down_proj'\], unlike its target_modules"),
        ({"target_modules": ".*q_proj"}, r"tensors of \['down_proj'\], unlike its target_modules"),
        ({"target_modules": ["q_proj", "0.mlp.down_proj"]}, r"tensors of \['down_proj'\], unlike its target_modules"),
        ({"target_modules": "("}, r"target_modules='\(', which cannot be matched: missing \), unterminated subpattern"),
    ],
)
def test_tensors_that_peft_would_leave_out_are_refused(published_dream, dream_adapter, config, said):
    with pytest.raises(UserError, match=said):
        load(published_dream, adapter=str(dream_adapter(**config)))


@pytest.mark.slow
def test_a_pattern_that_never_ends_is_ended(dream_adapter):
    config = read_adapter_config(dream_adapter(exclude_modules="(a+)+b") / "adapter_config.json")
    with pytest.raises(
        UserError, match=r"exclude_modules='.*', which cannot be matched: it takes longer than 5 second"
    ):
        config.targeted(["a" * 60], head="lm_head")


def test_the_output_layer_is_adapted_where_all_linear_layers_are_only_by_name(dream_adapter):
    config = read_adapter_config(dream_adapter(target_modules="all-linear") / "adapter_config.json")
    assert config.targeted(["a.q_proj", "lm_head"], head="lm_head") == {"a.q_proj"}
    config = read_adapter_config(dream_adapter(name="b", target_modules=["lm_head", "proj"]) / "adapter_config.json")
    assert config.targeted(["a.q_proj", "lm_head", "a.proj"], head="lm_head") == {"lm_head", "a.proj"}
