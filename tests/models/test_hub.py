"""Where a named model lies; no test reaches the network."""

from fnmatch import fnmatch

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from harness.config.tree import ModelConfig
from harness.errors import UserError
from harness.models import hub
from harness.models.checkpoints import load_model
from harness.models.hub import adapter_folder, model_folder


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Replaces the hub by a folder; what was asked of it."""
    calls = {}

    def snapshot_download(name, *, allow_patterns):
        calls[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def raising(error):
    def snapshot_download(name, *, allow_patterns):
        raise error

    return snapshot_download


def test_a_folder_is_itself(tmp_path):
    assert model_folder(str(tmp_path)) == tmp_path


def test_a_hub_id_is_fetched_without_code_and_without_pickles(asked, tmp_path):
    assert model_folder("GSAI-ML/LLaDA-8B-Instruct") == tmp_path
    patterns = asked["GSAI-ML/LLaDA-8B-Instruct"]
    wanted = ["config.json", "model-00001-of-00006.safetensors", "model.safetensors.index.json", "tokenizer.json"]
    wanted += ["tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.jinja", "special_tokens_map.json"]
    for file in wanted:
        assert any(fnmatch(file, pattern) for pattern in patterns), file
    unwanted = ["modeling_llada.py", "configuration_llada.py", "pytorch_model.bin", "training_args.bin", "README.md"]
    unwanted += ["checkpoint-100/model.safetensors", "optimizer.pt", "sub/config.json"]
    for file in unwanted:
        assert not any(fnmatch(file, pattern) for pattern in patterns), file


def test_an_adapter_is_fetched_from_its_subfolder_alone(asked, tmp_path):
    (tmp_path / "checkpoint-1200").mkdir()
    assert adapter_folder("someone/llada-lora", "checkpoint-1200/") == tmp_path / "checkpoint-1200"
    assert asked["someone/llada-lora"] == [
        "checkpoint-1200/adapter_config.json",
        "checkpoint-1200/adapter_model.safetensors",
    ]


@pytest.mark.parametrize("name", ["llada", "a/b/c", "../x", "/no/such/folder", "x y/z", ""])
def test_what_is_neither_a_folder_nor_an_id_is_refused(asked, name):
    with pytest.raises(UserError, match="is neither a folder nor a hub id such as GSAI-ML/LLaDA-8B-Instruct"):
        model_folder(name or "no/such/")
    assert asked == {}


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("No connection.\nMore."), OSError("No connection")])
def test_without_a_network_the_way_out_is_named_in_one_sentence(monkeypatch, error):
    monkeypatch.setattr(hub, "snapshot_download", raising(error))
    with pytest.raises(UserError) as raised:
        load_model(ModelConfig(name="GSAI-ML/LLaDA-8B-Instruct"), task="sudoku", device="cpu")
    assert str(raised.value) == (
        "Model 'GSAI-ML/LLaDA-8B-Instruct' is no folder here and cannot be had from the hub (No connection); name a "
        "local folder, or set HF_HOME to a cache that holds it."
    )


def test_every_error_of_the_hub_s_own_is_understood():
    assert issubclass(RepositoryNotFoundError, hub.HUB_ERRORS)
    assert issubclass(LocalEntryNotFoundError, hub.HUB_ERRORS)
    assert not issubclass(KeyError, hub.HUB_ERRORS)


def test_a_cache_that_holds_the_model_needs_no_network(monkeypatch, tmp_path, published_llada, copy_of):
    revision = "0" * 40
    repository = tmp_path / "cache" / "models--GSAI-ML--LLaDA-Tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    snapshot = repository / "snapshots" / revision
    snapshot.parent.mkdir()
    copy_of(published_llada).rename(snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lm = load_model(ModelConfig(name="GSAI-ML/LLaDA-Tiny"), task="sudoku", device="cpu")
    assert lm.name == "GSAI-ML/LLaDA-Tiny"
    assert lm.warnings == ()
