"""The first command with a large model: its name, then its data, and only then its weights."""

import csv

import datasets
import pytest
from huggingface_hub import constants

from harness.app.plan import plan
from harness.app.ready import check_model, load_data
from harness.app.run import load
from harness.cli.main import main
from harness.cli.options.cells import CellOptions
from harness.generators.sudoku import builtin_pairs
from harness.models import hub as hub_module

LLADA = "GSAI-ML/LLaDA-8B-Instruct"
SMALL = ["evaluation.items=4", "train.batch_size=8", "train.group_size=4", "conventions.attended_padding=0"]


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch, published_llada, copy_of):
    """A cache that holds LLaDA's name on a small random model, and no network; what was asked of it, file by file."""
    revision, asked = "0" * 40, []
    repository = tmp_path / "cache" / f"models--{LLADA.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    (repository / "snapshots").mkdir()
    copy_of(published_llada).rename(repository / "snapshots" / revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    fetch = hub_module.snapshot_download

    def snapshot_download(name, **options):
        asked.append(options["allow_patterns"])
        return fetch(name, **options)

    monkeypatch.setattr(hub_module, "snapshot_download", snapshot_download)
    return asked


@pytest.fixture
def data(tmp_path):
    """A folder with d1's two files for Sudoku, of built-in puzzles."""
    folder = tmp_path / "data"
    (folder / "sudoku").mkdir(parents=True)
    for split, name in {"train": "4x4_sudoku_unique_puzzles.csv", "test": "4x4_test_sudoku.csv"}.items():
        with open(folder / "sudoku" / name, "w", newline="") as stream:
            csv.writer(stream).writerows([("Puzzle", "Solution"), *builtin_pairs(split)[:16]])
    return folder


def planned(**options):
    options = {"model": LLADA, "settings": SMALL, **options}
    (request,) = CellOptions(method="egspo-sa", task="sudoku", **options).requests()
    return plan(request)


@pytest.mark.parametrize("setting", ["builtin", "folder", "variable"])
def test_it_is_ready_with_data_from_every_place(monkeypatch, data, hub, setting):
    if setting == "variable":
        monkeypatch.setenv("HARNESS_DATA", str(data))
    ready = planned(data={"builtin": "builtin", "folder": str(data)}.get(setting, ""))
    check_model(ready)
    assert hub == [("config.json",)] or hub == [["config.json"]]
    found = load_data(ready)
    assert (len(found.evaluation), found.evaluation_label) == (4, "builtin" if setting == "builtin" else "dir:data")
    model = load(ready, found)
    assert (model.name, model.dtype_name) == (LLADA, "bfloat16")


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("sudoku", [], "sudoku has no test split from 'hub'; use --data DIR or --data builtin (`harness data pull"),
        ("sudoku", ["--data", "hub"], "sudoku has no test split from 'hub'; use --data DIR or --data builtin"),
        ("gsm8k", ["--data", "hub"], "Data set 'openai/gsm8k' could not be fetched from the hub"),
        ("gsm8k", ["--data", "cache"], "No file 'gsm8k/"),
    ],
)
@pytest.mark.parametrize("command", [("run", "--method", "egspo-sa"), ("eval",)])
def test_missing_data_are_named_with_what_to_add_before_weights_are_fetched(
    tmp_path, monkeypatch, capsys, hub, command, task, options, said
):
    def offline(*arguments, **keywords):
        raise ConnectionError(f"Couldn't reach '{arguments[0]}' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    before = sorted(tmp_path.iterdir())
    assert main([*command, "--model", LLADA, "--task", task, *options]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "harness data pull --to DIR" in message
    assert message.count("\n") == 1
    assert {tuple(files) for files in hub} == {("config.json",)}
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", [("run", "--method", "egspo-sa"), ("run", "--method", "egspo-sa,egspo"), ("eval",)])
@pytest.mark.parametrize("options", [[], ["--data", "cache"]])
def test_a_misspelt_model_is_named_before_its_data_are_looked_at(capsys, command, options):
    assert main([*command, "--model", "GSAI-ML/LLaDA-8B-instruct-v1", "--task", "sudoku", *options]) == 2
    message = capsys.readouterr().err
    assert message.startswith("harness: Model 'GSAI-ML/LLaDA-8B-instruct-v1' is not a folder, and could not be fetched")
    assert f"did you mean '{LLADA}'? Otherwise name a local folder, or set HF_HOME to a cache that holds it." in message
    assert message.count("\n") == 1


def test_run_and_eval_take_the_same_words(capsys):
    from harness.cli.options.evaluating import decoding_options

    words = ["evaluation.num_steps=64", "evaluation.decoding.block_length=64"]
    resolved = planned(data="builtin", device="cpu", settings=[*SMALL, *words]).resolved
    decoding = resolved.config.evaluation.decoding
    assert (decoding.num_steps, decoding.block_length, resolved.execution.device) == (64, 64, "cpu")
    assert resolved.provenance["evaluation.decoding.num_steps"] == "command line"
    assert decoding_options([*words, "temperature=0"]) == {"num_steps": 64, "block_length": 64, "temperature": 0}
    assert planned(data="builtin", settings=[*SMALL, "evaluation.num_steps=64"]).identity.config_hash == (
        planned(data="builtin", settings=[*SMALL, "evaluation.decoding.num_steps=64"]).identity.config_hash
    )


def test_a_recipe_of_one_s_own_may_name_the_model(tmp_path):
    (tmp_path / "own.yaml").write_text("extends: paper\n")
    assert planned(data="builtin", model="", recipe="own.yaml").resolved.config.model.name == LLADA
    assert planned(data="builtin", model="", settings=None).resolved.config.model.name == "tiny"
    assert planned(data="builtin", model="tiny", recipe="own.yaml").resolved.config.model.name == "tiny"
