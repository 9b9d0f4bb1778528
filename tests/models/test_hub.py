"""Where a named model lies; no test reaches the network."""

from fnmatch import fnmatch
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from harness.config.tree import ModelConfig
from harness.data.hub import fetching
from harness.errors import UserError
from harness.models import hub
from harness.models.checkpoints import load_model
from harness.models.hub import adapter_folder, model_folder, repository


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Replaces the hub by a folder; what was asked of it."""
    calls = {}

    def snapshot_download(name, *, revision, allow_patterns, cache_dir):
        calls[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def raising(error):
    def snapshot_download(name, *, revision, allow_patterns, cache_dir):
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


def test_a_revision_of_a_hub_id_is_asked_for_and_is_no_part_of_a_folder_s_name(monkeypatch, tmp_path):
    asked = []

    def snapshot_download(name, *, revision, allow_patterns, cache_dir):
        asked.append((name, revision))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    for name in ("a/b", "a/b@main", "a/b@0123abc", "a/b@refs/pr/1"):
        model_folder(name)
    assert asked == [("a/b", None), ("a/b", "main"), ("a/b", "0123abc"), ("a/b", "refs/pr/1")]
    assert [repository(name) for name in ("a/b@main", "a/b", "tiny")] == ["a/b", "a/b", "tiny"]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b@main").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (model_folder("a/b@main"), repository("a/b@main")) == (Path("a/b@main"), "a/b@main")


@pytest.mark.parametrize("name", ["llada", "a/b/c", "a/b@", "a/b@ x", "../x", "/no/such/folder", "x y/z", ""])
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
        "Model 'GSAI-ML/LLaDA-8B-Instruct' is not a folder, and could not be fetched from the hub (No connection); "
        "name a local folder, or set HF_HOME to a cache that holds it."
    )


@pytest.mark.parametrize("kind", [RepositoryNotFoundError, LocalEntryNotFoundError, HFValidationError, ConnectionError])
def test_every_error_of_the_hub_s_own_becomes_one_sentence(kind):
    error = kind.__new__(kind)
    error.args = ("gone.\nand more",)
    said = r"^It could not be fetched from the hub \(gone\); look elsewhere\.$"
    with pytest.raises(UserError, match=said), fetching("It", fix="look elsewhere"):
        raise error


def test_a_fault_of_ours_is_no_error_of_the_hub():
    with pytest.raises(KeyError), fetching("It", fix="look elsewhere"):
        raise KeyError("x")


# Names that are no names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\0b", r"model\.name='a\\x00b' contains characters that cannot be shown"),
        ("\x1b]0;owned\x07", r"model\.name='\\x1b\]0;owned\\x07' contains characters that cannot be shown"),
        ("two\nlines", r"model\.name='two\\nlines' contains"),
        ("\udcff", r"model\.name='\\udcff' contains"),
        ("gro\u202ess", r"model\.name='gro\\u202ess' contains"),
        ("x" * 5000, r"model\.name=x{60}\.\.\. has 5,000 characters, and the most is 1024"),
        ("x" * 300, r"Model 'x{300}' is neither a folder nor a hub id"),
        ("a b/c d", "Model 'a b/c d' is neither a folder nor a hub id"),
        ("~nobody/model", "Model '~nobody/model' is neither a folder nor a hub id"),
        ("../../etc/nothing", r"Model '\.\./\.\./etc/nothing' is neither a folder nor a hub id"),
        ("/dev/null", "Model '/dev/null' is neither a folder nor a hub id"),
        ("https://huggingface.co/a/b", "Model 'https://huggingface.co/a/b' is neither a folder nor a hub id"),
        ("", "Model '' is neither a folder nor a hub id"),
    ],
)
def test_a_name_that_is_none_is_refused_in_one_sentence(name, said):
    with pytest.raises(UserError, match=said):
        load_model(ModelConfig(name=name), task="sudoku", device="cpu")


@pytest.mark.parametrize("option", ["adapter", "adapter_subfolder"])
def test_names_of_adapters_are_looked_at_too(option):
    with pytest.raises(UserError, match=rf"model\.{option}='\\x1b\[31m' contains characters that cannot be shown"):
        ModelConfig(**{"adapter": "a/b", option: "\x1b[31m"}).check()


@pytest.mark.parametrize("subfolder", ["..", "a/../..", "../other"])
def test_an_adapter_s_subfolder_stays_inside(tmp_path, subfolder):
    (tmp_path / "adapter" / "a").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=f"Adapter subfolder '{subfolder}' leads out of"):
        adapter_folder(str(tmp_path / "adapter"), subfolder)


def test_a_folder_may_have_spaces_in_its_name(tmp_path):
    (tmp_path / "my model").mkdir()
    assert model_folder(str(tmp_path / "my model")) == tmp_path / "my model"


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
    assert lm.commits == {"GSAI-ML/LLaDA-Tiny": revision}
    pinned = load_model(ModelConfig(name=f"GSAI-ML/LLaDA-Tiny@{revision}"), task="sudoku", device="cpu")
    assert pinned.commits == lm.commits
    with pytest.raises(UserError, match="Model 'GSAI-ML/LLaDA-Tiny@v2' is not a folder, and could not be fetched"):
        load_model(ModelConfig(name="GSAI-ML/LLaDA-Tiny@v2"), task="sudoku", device="cpu")
