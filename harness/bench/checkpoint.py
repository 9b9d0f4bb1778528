"""A checkpoint of random weights in LLaDA's layout, with the character tokenizer, that `harness run` loads."""

from __future__ import annotations

import json
from pathlib import Path

from harness.bench.shapes import BenchShape, make_model
from harness.models.files import WEIGHTS_FILE, save_tensors
from harness.models.layout import CONFIG_JSON
from harness.models.layouts import LAYOUTS
from harness.models.tiny import END_ID, MASK_ID


def save_random_checkpoint(shape: BenchShape, folder: Path, device: str) -> None:
    """Writes config.json and weights into a new folder."""
    layout = LAYOUTS["llada"]
    model, _ = make_model(shape, device)
    weights = model.predictor.transformer.state_dict()
    folder.mkdir(parents=True)
    save_tensors({layout.official_tensor(name): weight for name, weight in weights.items()}, folder / WEIGHTS_FILE)
    config = {
        "model_type": "llada",
        "tokenizer": "characters",
        "block_type": "llama",
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "rope": True,
        "rope_theta": 10000.0,
        "rms_norm_eps": shape.config.rms_norm_eps,
        "weight_tying": False,
        "max_sequence_length": 4096,
        "d_model": shape.hidden,
        "n_layers": shape.layers,
        "n_heads": shape.heads,
        "n_kv_heads": shape.heads,
        "mlp_hidden_size": shape.intermediate,
        "embedding_size": shape.vocabulary,
        "vocab_size": shape.vocabulary,
        "mask_token_id": MASK_ID,
        "pad_token_id": END_ID,
        "eos_token_id": END_ID,
    }
    (folder / CONFIG_JSON).write_text(json.dumps(config))
