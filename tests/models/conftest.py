"""Random-weight checkpoints in the layouts of LLaDA and Dream, with small real tokenizers, as they lie on the hub.

Names and shapes are written out here, so that the harness's own table of names is tested against them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

WIDTH, INNER, LAYERS, HEADS, KV_HEADS, ROWS = 32, 48, 2, 4, 2, 384
LLADA_SPECIAL = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|mdm_mask|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "[CLS]",
    "[gMASK]",
    "<role>",
)
DREAM_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>")
LLADA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
DREAM_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REMOTE_CODE = "raise SystemExit('remote code was run')\n"
SENTENCES = ["Solve the 4x4 Sudoku puzzle.", "<answer>1234341221434321</answer>", "Every row, column and box"]


def trained_bpe() -> Tokenizer:
    """Byte-level BPE: all bytes and a few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    return tokenizer


def llada_config(special: Mapping[str, int]) -> dict[str, Any]:
    return {
        "activation_type": "silu",
        "alibi": False,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"},
        "block_type": "llama",
        "d_model": WIDTH,
        "embedding_size": ROWS,
        "eos_token_id": special["<|endoftext|>"],
        "include_bias": False,
        "include_qkv_bias": False,
        "layer_norm_type": "rms",
        "mask_token_id": special["<|mdm_mask|>"],
        "max_sequence_length": 4096,
        "mlp_hidden_size": INNER,
        "mlp_ratio": 4,
        "model_type": "llada",
        "multi_query_attention": None,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "pad_token_id": special["<|endoftext|>"],
        "rms_norm_eps": 1e-05,
        "rope": True,
        "rope_theta": 500000.0,
        "use_cache": False,
        "vocab_size": ROWS,
        "weight_tying": False,
    }


def dream_config(special: Mapping[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["DreamModel"],
        "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "bos_token_id": special["<|endoftext|>"],
        "eos_token_id": special["<|endoftext|>"],
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "mask_token_id": special["<|mask|>"],
        "max_position_embeddings": 131072,
        "max_window_layers": 28,
        "model_type": "Dream",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "pad_token_id": special["<|endoftext|>"],
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": ROWS,
    }


def llada_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.transformer.wte.weight": (ROWS, WIDTH)}
    block = {
        **dict.fromkeys(("attn_norm", "ff_norm"), (WIDTH,)),
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "attn_out"), (WIDTH, WIDTH)),
        **dict.fromkeys(("ff_proj", "up_proj"), (INNER, WIDTH)),
        "ff_out": (WIDTH, INNER),
    }
    for number in range(LAYERS):
        shapes |= {f"model.transformer.blocks.{number}.{name}.weight": shape for name, shape in block.items()}
    return shapes | {"model.transformer.ln_f.weight": (WIDTH,), "model.transformer.ff_out.weight": (ROWS, WIDTH)}


def dream_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, WIDTH)}
    narrow = WIDTH // HEADS * KV_HEADS
    block = {
        "input_layernorm.weight": (WIDTH,),
        "post_attention_layernorm.weight": (WIDTH,),
        "self_attn.q_proj.weight": (WIDTH, WIDTH),
        "self_attn.q_proj.bias": (WIDTH,),
        "self_attn.k_proj.weight": (narrow, WIDTH),
        "self_attn.k_proj.bias": (narrow,),
        "self_attn.v_proj.weight": (narrow, WIDTH),
        "self_attn.v_proj.bias": (narrow,),
        "self_attn.o_proj.weight": (WIDTH, WIDTH),
        "mlp.gate_proj.weight": (INNER, WIDTH),
        "mlp.up_proj.weight": (INNER, WIDTH),
        "mlp.down_proj.weight": (WIDTH, INNER),
    }
    for number in range(LAYERS):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in block.items()}
    return shapes | {"model.norm.weight": (WIDTH,), "lm_head.weight": (ROWS, WIDTH)}


def random_weights(shapes: Mapping[str, tuple[int, ...]], *, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights spread out enough that no two logits are equal; norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: (0.3 * value + float("norm" in name or "ln_f" in name)).to(dtype) for name, value in drawn.items()}


def write_shards(weights: Mapping[str, Tensor], folder: Path, count: int) -> None:
    """Deals the tensors out to `count` files, as unordered as the published shards are, with their index."""
    files = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    place = {name: files[index % count] for index, name in enumerate(weights)}
    for file in files:
        part = {name: weight for name, weight in weights.items() if place[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    total = sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def special_ids(tokenizer: Tokenizer, names: Sequence[str]) -> dict[str, int]:
    first = tokenizer.get_vocab_size()
    return {name: first + index for index, name in enumerate(names)}


def added_tokens(special: Mapping[str, int]) -> dict[str, Any]:
    """`added_tokens_decoder` of tokenizer_config.json."""
    how = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {str(number): {"content": name, **how} for name, number in special.items()}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2))


@pytest.fixture(scope="session")
def published_llada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaDA's layout: 3 shards in bfloat16, tokenizer.json, chat template in tokenizer_config.json."""
    folder = tmp_path_factory.mktemp("hub") / "LLaDA-Tiny-Instruct"
    folder.mkdir()
    tokenizer = trained_bpe()
    special = special_ids(tokenizer, LLADA_SPECIAL)
    tokenizer.add_special_tokens(list(LLADA_SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "add_bos_token": False,
        "add_eos_token": False,
        "added_tokens_decoder": added_tokens(special),
        "additional_special_tokens": ["<role>"],
        "auto_map": {"AutoTokenizer": ["tokenization_llada.Tokenizer", None]},
        "bos_token": "<|startoftext|>",
        "chat_template": LLADA_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "cls_token": "[CLS]",
        "eos_token": "<|endoftext|>",
        "fast_tokenizer": True,
        "gmask_token": "[gMASK]",
        "merges_file": None,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "trust_remote_code": True,
        "vocab_file": None,
    }
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    write_json(folder / "config.json", llada_config(special))
    write_shards(random_weights(llada_shapes(), seed=1, dtype=torch.bfloat16), folder, 3)
    for name in ("configuration_llada", "modeling_llada", "tokenization_llada"):
        (folder / f"{name}.py").write_text(REMOTE_CODE)
    return folder


@pytest.fixture(scope="session")
def published_dream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dream's layout: 2 shards in float32, vocab.json and merges.txt, a tokenizer class of its own."""
    folder = tmp_path_factory.mktemp("hub") / "Dream-Tiny-Instruct"
    folder.mkdir()
    tokenizer = trained_bpe()
    special = special_ids(tokenizer, DREAM_SPECIAL)
    tokenizer.model.save(str(folder))
    tokenizer_config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added_tokens(special),
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"],
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "bos_token": "<|beginoftext|>",
        "chat_template": DREAM_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "errors": "replace",
        "mask_token": "<|mask|>",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "DreamTokenizer",
        "unk_token": None,
    }
    write_json(folder / "added_tokens.json", special)
    write_json(folder / "special_tokens_map.json", {"mask_token": "<|mask|>", "eos_token": "<|endoftext|>"})
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    write_json(folder / "config.json", dream_config(special))
    write_shards(random_weights(dream_shapes(), seed=2, dtype=torch.float32), folder, 2)
    for name in ("configuration_dream", "modeling_dream", "tokenization_dream"):
        (folder / f"{name}.py").write_text(REMOTE_CODE)
    return folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[..., Path]:
    """Copies a published folder, under another name if one is given, with keys of its config.json changed."""

    def copy(published: Path, name: str = "", **changes: Any) -> Path:
        folder = tmp_path / (name or published.name)
        shutil.copytree(published, folder)
        if changes:
            config = json.loads((folder / "config.json").read_text())
            write_json(folder / "config.json", config | changes)
        return folder

    return copy


@pytest.fixture
def write_adapter(tmp_path: Path) -> Callable[..., Path]:
    """Writes peft's two files: official module (without prefix) to (inputs, outputs), random weights."""

    def write(modules: Mapping[str, tuple[int, int]], *, rank: int = 4, name: str = "adapter", **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        generator = torch.Generator().manual_seed(3)
        weights = {}
        for module, (inputs, outputs) in modules.items():
            prefix = f"base_model.model.{module}"
            weights[f"{prefix}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator) / 8
            weights[f"{prefix}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator) / 8
        save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        targets = sorted({module.rpartition(".")[2] for module in modules})
        published = {
            "base_model_name_or_path": "GSAI-ML/LLaDA-8B-Instruct",
            "bias": "none",
            "lora_alpha": 2 * rank,
            "lora_dropout": 0.05,
            "peft_type": "LORA",
            "r": rank,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
        }
        write_json(folder / "adapter_config.json", published | config)
        return folder

    return write


SQUARE, WIDER, NARROWER = (WIDTH, WIDTH), (WIDTH, INNER), (INNER, WIDTH)
OFFICIAL_SUBSET = {"q_proj": SQUARE, "k_proj": SQUARE, "v_proj": SQUARE, "up_proj": WIDER}
ALL_IN_A_BLOCK = {**OFFICIAL_SUBSET, "attn_out": SQUARE, "ff_proj": WIDER, "ff_out": NARROWER}


@pytest.fixture
def llada_blocks() -> Callable[[Mapping[str, tuple[int, int]]], dict[str, tuple[int, int]]]:
    """The layers of one block, in all blocks, under LLaDA's names."""

    def spread(block: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        return {
            f"model.transformer.blocks.{number}.{name}": size
            for number in range(LAYERS)
            for name, size in block.items()
        }

    return spread


@pytest.fixture
def official_subset(llada_blocks: Callable[..., dict[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """The layers that the published runs trained."""
    return llada_blocks(OFFICIAL_SUBSET)


@pytest.fixture
def every_layer(llada_blocks: Callable[..., dict[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    """All layers of the blocks and the output layer, whose name LLaDA's ff_out also fits."""
    return {**llada_blocks(ALL_IN_A_BLOCK), "model.transformer.ff_out": (WIDTH, ROWS)}
