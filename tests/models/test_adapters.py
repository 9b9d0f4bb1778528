"""Published adapters: the remote code's names, what of a configuration they follow, and their effect on the logits."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.tree import LoraConfig, ModelConfig
from harness.errors import UserError
from harness.models.adapters import adapted_layers, check_mergeable, merge_adapter, merged, pair
from harness.models.checkpoints import load_model

TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44], [9, 9, 130, 2, 77, 61]])
EVERYWHERE = torch.arange(6).expand(2, -1)
OFFICIAL_LIST = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SUBSET_RANKS = {"k_proj": 4, "q_proj": 4, "up_proj": 4, "v_proj": 4}


def load(folder, **changes):
    return load_model(ModelConfig(name=str(folder), **changes), task="sudoku", device="cpu")


def logits(lm):
    with torch.no_grad():
        return lm.logits(TOKENS, None, EVERYWHERE)


def edit(adapter, change):
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def by_hand(lm, adapter, renamed, scale):
    """The model without adapters, scale * B A added to its matrices: official module name to ours."""
    weights = load_file(adapter / "adapter_model.safetensors")
    transformer = lm.predictor.transformer
    with torch.no_grad():
        for official, ours in renamed.items():
            low, high = (weights[f"base_model.model.{official}.lora_{part}.weight"] for part in "AB")
            transformer.get_submodule(ours).weight += scale * high @ low
    return logits(lm)


def test_every_layer_of_llada_is_found_by_its_remote_name(published_llada, write_adapter, every_layer):
    adapter = write_adapter(every_layer)
    lm = load(published_llada, adapter=str(adapter))
    renamed = {"model.transformer.ff_out": "lm_head"}
    for number in range(2):
        block, layer = f"model.transformer.blocks.{number}", f"model.layers.{number}"
        renamed |= {f"{block}.{name}": f"{layer}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj")}
        renamed |= {f"{block}.attn_out": f"{layer}.self_attn.o_proj", f"{block}.ff_proj": f"{layer}.mlp.gate_proj"}
        renamed |= {f"{block}.up_proj": f"{layer}.mlp.up_proj", f"{block}.ff_out": f"{layer}.mlp.down_proj"}
    expected = by_hand(load(published_llada), adapter, renamed, scale=2.0)
    torch.testing.assert_close(logits(lm), expected, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(logits(lm), logits(load(published_llada)), atol=0.1)
    assert lm.shape.lora_ranks == dict.fromkeys([*OFFICIAL_LIST, "lm_head"], 4)


def test_a_list_of_seven_that_trained_four_is_the_official_subset(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset, target_modules=OFFICIAL_LIST)
    lm = load(published_llada, adapter=str(adapter))
    assert lm.shape.lora_ranks == SUBSET_RANKS
    trained = {name for name, weight in lm.predictor.named_parameters() if weight.requires_grad}
    assert len(trained) == 4 * 2 * 2
    assert all("lora_" in name for name in trained)


def test_dream_s_adapters_have_transformers_names(published_dream, write_adapter):
    modules = {f"model.layers.{number}.self_attn.q_proj": (32, 32) for number in range(2)}
    adapter = write_adapter({**modules, "lm_head": (32, 384)})
    lm = load(published_dream, adapter=str(adapter))
    assert lm.shape.lora_ranks == {"lm_head": 4, "q_proj": 4}
    expected = by_hand(load(published_dream), adapter, {name: name for name in [*modules, "lm_head"]}, scale=2.0)
    torch.testing.assert_close(logits(lm), expected, atol=1e-3, rtol=1e-4)


def test_an_adapter_may_lie_in_a_subfolder(published_llada, write_adapter, official_subset, tmp_path):
    write_adapter(official_subset, name="runs/checkpoint-1200")
    lm = load(published_llada, adapter=str(tmp_path / "runs"), adapter_subfolder="checkpoint-1200")
    assert lm.shape.lora_ranks == SUBSET_RANKS
    with pytest.raises(UserError, match="has no subfolder 'checkpoint-1400'"):
        load(published_llada, adapter=str(tmp_path / "runs"), adapter_subfolder="checkpoint-1400")
    with pytest.raises(UserError, match=r"lacks adapter_config\.json and adapter_model\.safetensors"):
        load(published_llada, adapter=str(tmp_path / "runs"))


@pytest.mark.parametrize(("config", "scale"), [({"lora_alpha": 6}, 1.5), ({"lora_alpha": 6, "use_rslora": True}, 3.0)])
def test_the_scale_is_alpha_over_rank_or_over_its_root(published_llada, write_adapter, llada_blocks, config, scale):
    adapter = write_adapter(llada_blocks({"q_proj": (32, 32)}), **config)
    names = {f"model.transformer.blocks.{i}.q_proj": f"model.layers.{i}.self_attn.q_proj" for i in range(2)}
    expected = by_hand(load(published_llada), adapter, names, scale)
    torch.testing.assert_close(logits(load(published_llada, adapter=str(adapter))), expected, atol=1e-3, rtol=1e-4)


def test_the_reference_policy_is_the_model_without_the_adapter(published_llada, write_adapter, official_subset):
    lm = load(published_llada, adapter=str(write_adapter(official_subset)))
    with lm.reference_policy():
        reference = logits(lm)
    torch.testing.assert_close(reference, logits(load(published_llada)), atol=0, rtol=0)


def test_new_adapters_go_on_the_merged_model_which_is_the_reference(published_llada, write_adapter, every_layer):
    adapter = str(write_adapter(every_layer))
    lm = load(published_llada, adapter=adapter, lora=LoraConfig(rank=2, targets="official-subset"))
    assert lm.shape.lora_ranks == dict.fromkeys(SUBSET_RANKS, 2)
    expected = logits(load(published_llada, adapter=adapter))
    torch.testing.assert_close(logits(lm), expected, atol=1e-3, rtol=1e-4)
    with lm.reference_policy():
        torch.testing.assert_close(logits(lm), expected, atol=1e-3, rtol=1e-4)


def test_merging_rounds_once(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    lm = load_model(
        ModelConfig(name=str(published_llada), adapter=str(adapter)), task="sudoku", device="cpu", stored_dtype=True
    )
    before = lm.predictor.transformer.model.layers[1].mlp.up_proj.get_base_layer().weight.detach().clone()
    merge_adapter(lm)
    weights = load_file(adapter / "adapter_model.safetensors")
    low, high = (weights[f"base_model.model.model.transformer.blocks.1.up_proj.lora_{part}.weight"] for part in "AB")
    after = lm.predictor.transformer.model.layers[1].mlp.up_proj.weight
    assert after.dtype == torch.bfloat16
    assert torch.equal(after, (before.float() + high @ low * 2.0).to(torch.bfloat16))
    assert lm.shape.lora_ranks == {}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-5), ("bfloat16", 0.5)])
def test_merged_for_a_while_the_weights_come_back_to_the_bit(
    published_llada, write_adapter, every_layer, dtype, tolerance
):
    lm = load(published_llada, adapter=str(write_adapter(every_layer)), dtype=dtype)
    layers = dict(adapted_layers(lm.predictor.model))
    before, beside = {name: weight.clone() for name, weight in lm.predictor.named_parameters()}, logits(lm)
    for _ in range(3):
        with merged(lm):
            inside = {name: layer.get_base_layer().weight.clone() for name, layer in layers.items()}
            assert (logits(lm) - beside).abs().max() < tolerance
        assert all(torch.equal(weight, before[name]) for name, weight in lm.predictor.named_parameters())
        assert torch.equal(logits(lm), beside)
    subtracted = {
        name: inside[name] - layer.get_delta_weight("default").to(inside[name].dtype) for name, layer in layers.items()
    }
    assert not all(torch.equal(subtracted[name], layer.get_base_layer().weight) for name, layer in layers.items())


def test_merged_computes_what_the_merged_checkpoint_does_whatever_the_adapter_becomes(
    published_llada, write_adapter, every_layer
):
    adapter = str(write_adapter(every_layer))
    lm, exported = load(published_llada, adapter=adapter), load(published_llada, adapter=adapter)
    merge_adapter(exported)
    with merged(lm):
        for _, layer in adapted_layers(lm.predictor.model):
            pair(layer)["lora_B"].data.zero_()
        assert torch.equal(logits(lm), logits(exported))
    assert torch.equal(logits(lm), logits(load(published_llada)))


def test_a_failure_while_merged_leaves_the_weights_as_they_were(published_llada, write_adapter, official_subset):
    lm = load(published_llada, adapter=str(write_adapter(official_subset)))
    beside = logits(lm)
    with pytest.raises(UserError, match="does not fit"), merged(lm):
        raise UserError("does not fit")
    assert torch.equal(logits(lm), beside)


def test_an_adapted_output_layer_that_is_the_embedding_too_is_not_merged(random_model):
    random_model.predictor.transformer.config.tie_word_embeddings = True
    random_model.add_lora(LoraConfig(rank=2, targets="all"), seed=0)
    check_mergeable(random_model, "fix")
    random_model.lora_ranks = {"lm_head": 2}
    with pytest.raises(UserError, match=r"'random' uses its embedding as output layer.*cannot be merged; fix"):
        check_mergeable(random_model, "fix")


def test_adapters_on_a_bfloat16_model_stay_exact(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    lm = load(published_llada, adapter=str(adapter), dtype="bfloat16")
    layer = lm.predictor.transformer.model.layers[0].self_attn.q_proj
    stored = load_file(adapter / "adapter_model.safetensors")
    name = "base_model.model.model.transformer.blocks.0.q_proj.lora_A.weight"
    assert torch.equal(layer.lora_A["default"].weight, stored[name])


def test_loading_an_adapter_leaves_the_global_random_state_alone(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(published_llada, adapter=str(adapter))
    assert torch.equal(torch.rand(3), expected)


def test_the_flops_of_an_adapted_output_layer_are_within_one_per_cent_of_torch(
    published_llada, write_adapter, every_layer
):
    lm = load(published_llada, adapter=str(write_adapter(every_layer, rank=8)))
    with lm.meter.measure() as cost:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
            output = lm.logits(TOKENS, None, EVERYWHERE)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as backward:
            output.sum().backward()
    assert cost.forward_flops == pytest.approx(forward.get_total_flops(), rel=0.01)
    assert cost.backward_flops == pytest.approx(backward.get_total_flops(), rel=0.01)


# What is refused


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3', but only 'LORA' is supported"),
        ({"bias": "all"}, "bias='all', but only 'none' is supported"),
        ({"use_dora": True}, "use_dora=True, which is not supported; merge"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern="),
        ({"modules_to_save": ["wte"]}, "modules_to_save="),
        ({"r": "4"}, "r='4', where a whole number"),
        ({"r": 0}, "r=0, where a whole number from 1"),
        ({"r": 2.5}, "r=2.5, where a whole number from 1"),
        ({"lora_alpha": None}, "lora_alpha=None"),
        ({"r": 8}, r"has shape \(4, 32\), not \(8, 32\)"),
        (
            {"target_modules": ["q_proj", "k_proj", "v_proj"]},
            r"tensors of \['up_proj'\], unlike its target_modules",
        ),
        ({"target_modules": []}, "unlike its target_modules"),
        ({"target_modules": [*OFFICIAL_LIST, "attn_out"]}, "has tensors of 0 of 2 layers o_proj"),
    ],
)
def test_a_configuration_that_is_no_plain_lora_is_refused(
    published_llada, write_adapter, official_subset, config, said
):
    with pytest.raises(UserError, match=said):
        load(published_llada, adapter=str(write_adapter(official_subset, **config)))


@pytest.mark.parametrize("targets", ["all-linear", r".*\.blocks\.\d+\..*_proj"])
def test_a_pattern_of_layers_is_read_from_the_tensors(published_llada, write_adapter, official_subset, targets):
    lm = load(published_llada, adapter=str(write_adapter(official_subset, target_modules=targets)))
    assert lm.shape.lora_ranks == SUBSET_RANKS


FIRST = "base_model.model.model.transformer.blocks.0.q_proj"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop(f"{FIRST}.lora_B.weight"), r"lora_B\.weight has shape None, not \(32, 4\)"),
        (
            lambda weights: [weights.pop(f"{FIRST}.lora_{part}.weight") for part in "AB"],
            "has tensors of 1 of 2 layers q_proj",
        ),
        (
            lambda weights: weights.update({"base_model.model.model.layers.0.mlp.x.lora_A.weight": torch.ones(1)}),
            r"has 1 tensor\(s\) of no layer here, the first is base_model\.model\.model\.layers\.0\.mlp\.x",
        ),
        (
            lambda weights: weights.update({f"{FIRST}.lora_A.weight": torch.ones(4, 31)}),
            r"lora_A\.weight has shape \(4, 31\), not \(4, 32\)",
        ),
        (lambda weights: weights.clear(), "has tensors of no layer"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(published_llada, write_adapter, official_subset, change, said):
    adapter = write_adapter(official_subset)
    edit(adapter, change)
    with pytest.raises(UserError, match=said):
        load(published_llada, adapter=str(adapter))


def test_an_adapter_of_another_family_is_refused(published_dream, write_adapter, official_subset):
    with pytest.raises(UserError, match="of no layer here"):
        load(published_dream, adapter=str(write_adapter(official_subset)))


def test_a_damaged_adapter_is_refused(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors' is not a readable safetensors file"):
        load(published_llada, adapter=str(adapter))
    (adapter / "adapter_config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"adapter_config\.json' does not hold a JSON object"):
        load(published_llada, adapter=str(adapter))


def test_a_pickled_adapter_is_not_read(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UserError, match=r"lacks adapter_model\.safetensors; a \.bin file is not read"):
        load(published_llada, adapter=str(adapter))


def test_a_subfolder_without_an_adapter_is_refused(published_llada):
    with pytest.raises(UserError, match=r"model\.adapter_subfolder='x' needs model\.adapter"):
        load(published_llada, adapter_subfolder="x")


def test_the_base_model_of_an_adapter_need_not_be_named(published_llada, write_adapter, official_subset):
    adapter = write_adapter(official_subset)
    config = json.loads((adapter / "adapter_config.json").read_text())
    del config["base_model_name_or_path"]
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert load(published_llada, adapter=str(adapter)).warnings == ()


def test_new_adapters_drop_nothing_out_before_training(published_llada):
    lm = load(published_llada, lora=LoraConfig(rank=2, dropout=0.9))
    with torch.no_grad():
        for name, weight in lm.predictor.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    assert torch.equal(logits(lm), logits(lm))
