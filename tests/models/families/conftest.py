"""Random-weight checkpoints of the families that dllm, inclusionAI and Open-dLLM publish: 2 shards, real tokenizers.

Names and shapes are written out here, so that what transformers' classes call them is tested.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WIDTH, INNER, LAYERS, HEADS, KV_HEADS, ROWS = 32, 48, 2, 4, 2, 384
EXPERTS, EXPERT_INNER = 4, 24
QWEN, LLAMA = ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), ("<|end_of_text|>", "<|start_header_id|>", "<|eot_id|>")
SPECIAL = {
    "a2d-qwen3": (*QWEN, "<|mask|>"),
    "a2d-qwen2": (*QWEN, "<|mask|>"),
    "a2d-llama": (*LLAMA, "<|mask|>"),
    "qwen2": (*QWEN, "<M>"),
    "lladamoe": ("<|endoftext|>", "<role>", "<|role_end|>", "<|mask|>"),
    "sdar": (*QWEN, "<|MASK|>"),
}
"""Of each family padding, the beginning of a turn, its end and the mask: tokens 256 to 259."""
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}{% endif %}"
)
COMMON = {
    "attention_dropout": 0.0,
    "auto_map": {"AutoModel": "modeling.Model"},
    "eos_token_id": 258,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "max_position_embeddings": 32768,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "vocab_size": ROWS,
}
SLIDING = {"layer_types": ["full_attention"] * LAYERS, "max_window_layers": 28, "sliding_window": None}
LLAMA3 = {
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
MIXTURE = {
    "clip_qkv": None,
    "dense_intermediate_size": INNER,
    "expert_intermediate_size": EXPERT_INNER,
    "moe_layer_freq": [0, 1],
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "norm_topk_prob": None,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "output_router_logits": False,
    "pad_token_id": 256,
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "routed_scaling_factor": 1,
    "router_aux_loss_coef": 0.01,
    "router_num_group": None,
    "router_topk_group": None,
    "shared_expert_intermediate_size": None,
    "tie_word_embeddings": False,
}
SDAR = {
    "block_size": 8,
    "debug": False,
    "ep_size": 1,
    "eos_token_id": 256,
    "fuse_cross_entropy": True,
    "mask_token_id": 259,
    "micro_forward": False,
    "skip_checkpoint": False,
    "tie_word_embeddings": False,
    "use_deepep": False,
}
CONFIGS: Mapping[str, dict[str, Any]] = {
    "a2d-qwen3": {**COMMON, **SLIDING, "attention_bias": False, "head_dim": 16, "use_sliding_window": False},
    "a2d-qwen2": {**COMMON, **SLIDING, "use_sliding_window": False},
    "a2d-llama": {**COMMON, "head_dim": 8, "mlp_bias": False, "pretraining_tp": 1, "rope_scaling": LLAMA3},
    "qwen2": {**COMMON, "max_window_layers": 24, "sliding_window": 32768, "use_sliding_window": False},
    "lladamoe": {key: value for key, value in COMMON.items() if key != "intermediate_size"} | MIXTURE,
    "sdar": {**COMMON, **SLIDING, **SDAR, "attention_bias": False, "head_dim": 16, "use_sliding_window": False},
}


def mlp(name: str, width: int) -> dict[str, tuple[int, ...]]:
    narrow = {f"{name}.{part}_proj.weight": (width, WIDTH) for part in ("gate", "up")}
    return {**narrow, f"{name}.down_proj.weight": (WIDTH, width)}


def block(family: str, number: int) -> dict[str, tuple[int, ...]]:
    head_dim = 16 if family in ("a2d-qwen3", "sdar") else 8
    inner, narrow = HEADS * head_dim, KV_HEADS * head_dim
    widths = {"q_proj": inner, "k_proj": narrow, "v_proj": narrow}
    shapes: dict[str, tuple[int, ...]] = {f"self_attn.{name}.weight": (rows, WIDTH) for name, rows in widths.items()}
    shapes |= {"self_attn.o_proj.weight": (WIDTH, inner)}
    shapes |= {"input_layernorm.weight": (WIDTH,), "post_attention_layernorm.weight": (WIDTH,)}
    if family in ("a2d-qwen2", "qwen2"):
        shapes |= {f"self_attn.{name}.bias": (rows,) for name, rows in widths.items()}
    if family in ("a2d-qwen3", "lladamoe", "sdar"):
        shapes |= {f"self_attn.{name}_norm.weight": (head_dim,) for name in "qk"}
    if family == "lladamoe" and number > 0:
        for expert in range(EXPERTS):
            shapes |= mlp(f"mlp.experts.{expert}", EXPERT_INNER)
        return shapes | {"mlp.gate.weight": (EXPERTS, WIDTH)}
    return shapes | mlp("mlp", INNER)


def shapes_of(family: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, WIDTH), "model.norm.weight": (WIDTH,)}
    for number in range(LAYERS):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in block(family, number).items()}
    return shapes if CONFIGS[family]["tie_word_embeddings"] else {**shapes, "lm_head.weight": (ROWS, WIDTH)}


def write_weights(family: str, folder: Path) -> None:
    """Two shards with their index; no two logits are equal, norms are around 1."""
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: 0.3 * torch.randn(shape, generator=generator) + float("norm" in name)
        for name, shape in shapes_of(family).items()
    }
    files = [f"model-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    place = {name: files[index % 2] for index, name in enumerate(weights)}
    for file in files:
        part = {name: weight for name, weight in weights.items() if place[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    total = sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_tokenizer(family: str, folder: Path) -> None:
    """One token per byte, then the family's special tokens."""
    pad, begin, end, mask = SPECIAL[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([pad, begin, end, mask])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": pad}
    own_mask = {"mask_token": mask} if family == "qwen2" else {}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **own_mask, "chat_template": TEMPLATE}))


@pytest.fixture(scope="session")
def published_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a checkpoint of a family, by its model_type; kind is in its name, changes in its config.json."""
    hub = tmp_path_factory.mktemp("hub")

    def published(family: str, kind: str = "Tiny", **changes: Any) -> Path:
        folder = hub / f"{family}-{kind}-Instruct"
        if not folder.exists():
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps({**CONFIGS[family], "model_type": family, **changes}))
            (folder / "modeling.py").write_text("raise SystemExit('remote code was run')\n")
            if family == "sdar":
                (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [258, 256]}))
            write_tokenizer(family, folder)
            write_weights(family, folder)
        return folder

    return published


@pytest.fixture
def changed(published_family: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a family's checkpoint with keys of its config.json changed."""

    def change(family: str, **changes: Any) -> Path:
        folder = tmp_path / family
        shutil.copytree(published_family(family), folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return folder

    return change
