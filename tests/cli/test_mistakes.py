"""Mistakes that anyone makes once: each is answered in one short line that says what to write instead, and leaves no
trace."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer
from huggingface_hub import constants

from harness.app.plan import RunRequest, plan
from harness.cli.main import SUBCOMMANDS, main
from harness.cli.options.once import LISTS
from harness.config.resolve import parse_budget
from harness.data.sources import DATA_VARIABLE
from harness.records.description import RunDescription, write_description
from harness.records.run_folder import write_status
from harness.records.schema import RunStatus

LONGEST = 500
BEGUN = "egspo on sudoku, tiny, seed 0\n"
"""What a run says of itself before it loads anything."""
RUN = "run --method egspo --task sudoku"
EVAL = "eval tiny --task sudoku"
NAMES = [
    ("runn --method egspo --task sudoku", "Unknown command 'runn'. Did you mean 'run'?"),
    ("run --method egspo-as --task sudoku", "Unknown method 'egspo-as'. Did you mean 'egspo-sa'?"),
    ("run --method EGSPO_SA --task sudoku", "Unknown method 'EGSPO_SA'. Did you mean 'egspo-sa'?"),
    ("run --method egspo --task sudoko", "Unknown task 'sudoko'. Did you mean 'sudoku'?"),
    (f"{RUN} --recipe papper", "Unknown recipe for egspo on sudoku 'papper'. Did you mean 'paper'?"),
    (f"{RUN} --recipe egspo-as:paper", "Unknown method 'egspo-as'. Did you mean 'egspo-sa'?"),
    (f"{RUN} --reward correct", "Unknown reward 'correct'. Did you mean 'correctness'?"),
    (f"{RUN} --reward none", "Unknown reward 'none'. Choices: agrpo, correctness, espo, official, random, task."),
    (f"{RUN} --track wandbb", "Unknown execution.track 'wandbb'. Did you mean 'wandb'?"),
    (f"{RUN} --launcher slrum", "Unknown --launcher 'slrum'. Did you mean 'slurm'?"),
    (f"{RUN} --model tinny", "Model 'tinny' is neither a folder nor a hub id", "Did you mean 'tiny'?"),
    (f"{RUN} --model LLaDA-8B-Instruct", "Did you mean 'GSAI-ML/LLaDA-8B-Instruct'?"),
    (f"{RUN} --model GSAI-ML/LLaDA-8B-Instuct", "LLaDA-8B-Instuct' is not a folder", "'GSAI-ML/LLaDA-8B-Instruct'?"),
    (f"{RUN} --model egspo-sa/sudoku", "is a published checkpoint, not a model", "--checkpoint egspo-sa/sudoku"),
    ("eval Dream-v0-Instruct-7b --task sudoku", "Did you mean 'Dream-org/Dream-v0-Instruct-7B'?"),
    ("eval --task sudoku --checkpoint egspo-sa/sudoko", "Did you mean 'egspo-sa/sudoku'?", "harness list checkpoints"),
    (f"{EVAL} --protocol egpso", "Unknown protocol 'egpso'. Did you mean 'egspo'?"),
    ("eval tiny --task mbpp --protocol d1", "Unknown task of protocol 'd1' 'mbpp'. Choices: countdown"),
    (f"{EVAL} --split tests", "Unknown split 'tests'. Did you mean 'test'?"),
    (f"{EVAL} --checkpoints best", "Unknown --checkpoints 'best'. Choices: all, last."),
    (f"{EVAL} --dtype bf16", "Unknown model.dtype 'bf16'. Did you mean 'bfloat16'?"),
    (f"{EVAL} --device gpu", "Unknown device 'gpu'; choose auto, cpu, cuda"),
    ("compare --task sudoku --against tiny,egspo-as", "Unknown checkpoint 'egspo-as'. Did you mean 'egspo-sa'?"),
    ("reproduce 2603.12545", "Unknown paper '2603.12545'. Did you mean '2603.12554'?"),
    ("reproduce 2603.12554 --only table-11", "Unknown table or figure 'table-11'. Did you mean 'table-1'?"),
    ("reproduce 2603.12554 --with tinny", "Unknown --with 'tinny'. Did you mean 'tiny'?"),
    ("bench --part rolout", "Unknown --part 'rolout'. Did you mean 'rollout'?"),
    ("bench --shape c25", "Unknown --shape 'c25'. Did you mean 'c256'?"),
    ("data vefiry data", "Unknown action 'vefiry'. Did you mean 'verify'?"),
    ("data pull --to new --task sudoko", "Unknown task 'sudoko'. Did you mean 'sudoku'?"),
    ("grade samples.jsonl --task sudoko", "Unknown task 'sudoko'. Did you mean 'sudoku'?"),
    ("grade samples.jsonl --task sudoku --grader offical", "Unknown grader 'offical'. Did you mean 'official'?"),
    ("grade samples.jsonl --task sudoku --profile espp", "profile of sudoku 'espp'. Did you mean 'espo'?"),
    ("sft --task sudoko --out new", "Unknown task 'sudoko'. Did you mean 'sudoku'?"),
]
KEYS = [
    (f"{RUN} --set train.grop_size=4", "'train.grop_size'. Did you mean 'train.group_size'? Choices of train: "),
    (f"{RUN} --set trian.batch_size=8", "'trian.batch_size'. Did you mean 'train.batch_size'?"),
    (f"{RUN} --set learning_rate=1e-4", "'learning_rate'. Did you mean 'optimizer.learning_rate'?"),
    (f"{RUN} --set optimizer.lr=1e-4", "'optimizer.lr'. Did you mean 'optimizer.learning_rate'?"),
    (f"{RUN} --set num_steps=4", "Did you mean 'evaluation.decoding.num_steps' or 'rollout.num_steps'?"),
    (f"{RUN} --set lora.rank=4", "Did you mean 'model.lora.rank'?"),
    (f"{RUN} --set method.num_selekted=2", "Did you mean 'method.num_selected'?"),
    (f"{RUN} --set train.micro_batch_size=4", "'train.micro_batch_size' has moved to 'execution.micro_batch_size'"),
    (f"{RUN} --set task=gsm8k", "'task' is chosen by --task"),
    (f"{RUN} --set nonsense", "'nonsense' does not have the form key=value"),
    (f"{RUN} --set seed=1,2 --grid seeds.yaml", "'seed' stands in --grid and in --set; give it once"),
    (f"{RUN} --budget update=4", "'budget.update'. Did you mean 'budget.updates'?"),
    (f"{RUN} --budget 48", "--budget '48' does not name its limits; give updates=N"),
    (f"{RUN} --recipe misspelt.yaml", "'optimizer.learning_rat'. Did you mean 'optimizer.learning_rate'?"),
    (f"{EVAL} --set num_step=8", "Did you mean 'evaluation.decoding.num_steps'?"),
    (f"{EVAL} --set evaluation.items=8", "use --items for 'evaluation.items'"),
    ("sft --task sudoku --out new --set model.lora.rank=4", "--set model.* goes with these two"),
]
VALUES = [
    (f"{RUN} --set optimizer.learning_rate=fast", "optimizer.learning_rate='fast' is not a number"),
    (f"{RUN} --set optimizer.learning_rate=0", "optimizer.learning_rate=0.0 must be above 0"),
    (f"{RUN} --set optimizer.learning_rate=nan", "optimizer.learning_rate=nan is not a number"),
    (f"{RUN} --set optimizer.max_gradient_norm=0", "optimizer.max_gradient_norm=0.0 must be above 0"),
    (f"{RUN} --set optimizer.beta1=1", "optimizer.beta1=1.0 must be at least 0 and below 1"),
    (f"{RUN} --set optimizer.weight_decay=-0.1", "optimizer.weight_decay=-0.1 is negative; 0 is none"),
    (f"{RUN} --set model.lora.rank=-4", "model.lora.rank=-4 is negative; 0 trains all weights"),
    (f"{RUN} --set model.lora.rank=4 --set model.lora.dropout=1", "model.lora.dropout=1.0 must be at least 0"),
    (f"{RUN} --set model.lora.rank=4 --set model.lora.alpha=0", "model.lora.alpha=0.0 must be above 0"),
    (f"{RUN} --set train.batch_size=-8", "train.batch_size=-8 must be above 0"),
    (f"{RUN} --set train.batch_size=[8,16]", "train.batch_size=[8, 16] is not a whole number"),
    (f"{RUN} --set train.group_size=3", "train.group_size=3 does not divide", "train.batch_size=64", "divisor"),
    (f"{RUN} --set train.group_size=1", "train.group_size=1: egspo compares with the other", "set 2 or more"),
    (f"{RUN} --set rollout.temperature=0", "rollout.temperature=0 makes all completions of a prompt equal", "above 0"),
    (f"{RUN} --set rollout.temperature=-1", "rollout.temperature=-1.0 is negative; 0 is greedy, 1 samples"),
    (f"{RUN} --set rollout.block_length=5", "rollout.block_length=5 does not divide rollout.completion_length=16"),
    (f"{RUN} --set rollout.remasking=lowest", "Unknown rollout.remasking 'lowest'", "low_confidence"),
    (f"{RUN} --set method.num_selected=5", "method.num_selected=5", "rollout.num_steps=4"),
    (f"{RUN} --set model.dtype=float12", "Unknown model.dtype 'float12'", "bfloat16"),
    (f"{RUN} --set execution.checkpoint_every=0", "execution.checkpoint_every=0 must be above 0"),
    (f"{RUN} --set evaluation.items=100000", "evaluation.items=100000, but split 'test'", "--set evaluation.items=512"),
    (f"{RUN} --set evaluation.every=-1", "evaluation.every=-1 is negative"),
    (f"{RUN} --set budget.samples=0", "The run has no budget; give --budget updates=N"),
    (f"{RUN} --budget minutes=1h", "budget.minutes='1h' is not a number"),
    (f"{RUN} --budget updates=-1", "budget.updates=-1 is negative; 0 means no limit"),
    (f"{RUN} --seed 0.5", "--seed '0.5' is neither a whole number nor a list"),
    (f"{RUN} --keep 0", "execution.keep='0' is none of: last, all, a number of checkpoints"),
    (f"{RUN} --few-shot 2", "The tiny model reads short fixed prompts; leave out --prompts and --few-shot"),
    (f"{RUN} --device cuda:7", "cuda:7", "torch sees no GPU"),
    (f"{RUN} --model tiny,GSAI-ML/LLaDA-8B-Instruct", "neither a folder nor a hub id", "Name one of them."),
    (
        "plan --method egspo --task sudoku --memory 80GB",
        "harness plan cannot take --memory 80GB: input should be a valid number",
    ),
    (f"{RUN} --launcher slurm --sbatch account", "--sbatch 'account' is not of the form option=value"),
    (f"{EVAL} --items -1", "harness eval cannot take --items -1: input should be greater than or equal to 0"),
    (f"{EVAL} --items 513", "--items 513, but split 'test' of sudoku from 'builtin' has 512"),
    (f"{EVAL} --length 128x", "--length '128x' is neither a whole number nor a list"),
    ("export tiny --out new --max-shard-size 5XB", "--max-shard-size '5XB' is not a size; give 500MB, 5GB"),
    ("export tiny --out new --task sudoku,countdown", "Unknown task of the tiny model 'sudoku,countdown'"),
    ("grade samples.jsonl --task sudoku,countdown", "Unknown task 'sudoku,countdown'. Name one of them."),
    ("grade samples.jsonl --task sudoku --k 0", "--k '0' is not a list of numbers above 0"),
    ("sft --task sudoku --out new --learning-rate 0", "sft.learning_rate=0.0 must be above 0"),
    ("diagnose --scale 100 --out new", "cannot take --scale 100: input should be less than or equal to 20"),
]
OPTIONS = [
    (f"{RUN} --learning-rate 1e-4", "has no option --learning-rate. Use --set optimizer.learning_rate=VALUE."),
    (f"{RUN} --lr 1e-4", "has no option --lr. Use --set optimizer.learning_rate=VALUE."),
    (f"{RUN} --lora-rank 8", "Use --set model.lora.rank=VALUE."),
    (f"{RUN} --updates 10", "Use --budget updates=VALUE."),
    (f"{RUN} --items 8", "Use --set evaluation.items=VALUE."),
    (f"{RUN} --out new", "harness run has no option --out. Did you mean '--runs'?"),
    (f"{RUN} --nproc 2", "torchrun --nproc-per-node N -m harness run"),
    (f"{RUN} --few_shot 2", "Did you mean '--few-shot'?"),
    ("run -method egspo --task sudoku", "harness run has no option -method. Did you mean '--method'?"),
    ("run --methods egspo --task sudoku", "Did you mean '--method'?"),
    (f"{EVAL} --temperature 0.5", "harness eval has no option --temperature. Use --set temperature=VALUE."),
    (f"{EVAL} --limit 8", "Did you mean '--items'?"),
    ("report empty --task sudoku", "harness report has no option --task.", "See harness report --help."),
    ("--method egspo run", "The command comes first: harness COMMAND [OPTIONS]"),
    ("run --task sudoku", "--method is missing; harness list methods shows what there is"),
    ("export --out new", "harness export needs MODEL (tiny, a folder, a hub id, or a run folder"),
    (f"{RUN} --method", "'--method' requires an argument"),
    (f"{RUN} gsm8k", "harness run cannot place 'gsm8k': name it with --task gsm8k."),
    (f"{RUN} --seed 0 1", "harness run cannot place '1'", "several of one with commas between them"),
    (f"{RUN} --partition gpu", "--partition is for Slurm; add --launcher slurm"),
    ("data pull", "harness data pull needs --to"),
    ("data list --to new", "harness data list does not take --to"),
    ("bench --beside data", "--beside CLONE and --beside-python PYTHON go together"),
    ("sft --model tiny --out new", "Give --task NAME, or --model NAME and --data FILE.jsonl"),
    (f"{EVAL} --protocol d1 --set num_steps=8", "leave out --set and --few-shot"),
    ("eval --task sudoku --checkpoint egspo-sa/sudoku --adapter data", "adapter of its own; leave out --adapter"),
]
TWICE = [
    (
        f"{RUN} --task gsm8k",
        "--task is given twice ('sudoku', 'gsm8k'); separate several values by commas: --task sudo",
    ),
    (f"{RUN} --seed 0 --seed=1 --seed 2", "--seed is given 3 times ('0', '1', '2')", "commas: --seed 0,1,2."),
    (
        f"{RUN} --budget updates=4 --budget samples=64",
        "separate several values by commas: --budget updates=4,samples=6",
    ),
    (f"{RUN} --model tiny --model data", "--model is given twice ('tiny', 'data'); give it once."),
    (f"{RUN} --jobs 2 --array-parallelism 3", "--jobs is given twice ('2', '3'); give it once."),
    (f"{EVAL} --length 8 --length 16", "--length is given twice ('8', '16')", "by commas: --length 8,16."),
    (f"{EVAL} --seed 1 --seed 1", "--seed is given twice ('1', '1'); give it once."),
    ("compare --task sudoku --against tiny --against data", "by commas: --against tiny,data."),
    ("grade samples.jsonl --task sudoku --task gsm8k", "--task is given twice ('sudoku', 'gsm8k'); give it once."),
    ("report run --methods espo --methods d1", "by commas: --methods espo,d1."),
    ("show espo:tiny --task sudoku --task gsm8k", "--task is given twice ('sudoku', 'gsm8k'); give it once."),
]
PLACES = [
    (f"{RUN} --include-path missing", "'missing' is not a folder; --include-path takes a folder of *.py files"),
    (f"{RUN} --include-path data", "No *.py file in 'data'"),
    (f"{RUN} --include-path broken", "is not valid Python"),
    (f"{RUN} --recipe missing.yaml", "Recipe file 'missing.yaml' does not exist"),
    (f"{RUN} --recipe tab.yaml", "Recipe file 'tab.yaml' does not exist. Did you mean 'tabs.yaml'?"),
    (f"{RUN} --recipe tabs.yaml", "'tabs.yaml' is not valid YAML: it has a tab where YAML takes spaces, line 2"),
    (f"{RUN} --recipe itself.yaml", "extends itself"),
    (f"{RUN} --grid seed.yaml", "--grid 'seed.yaml' cannot be read: No such file", "Did you mean 'seeds.yaml'?"),
    (f"{RUN} --prompts missing.yaml", "Prompts file 'missing.yaml'"),
    (f"{RUN} --data dta", "Data source 'dta' is neither", "Did you mean 'data'?"),
    (f"{DATA_VARIABLE}=dta {RUN}", f"Data source 'dta' of {DATA_VARIABLE} is neither", "Did you mean 'data'?"),
    (f"{RUN} --data data", "4x4_test_sudoku.csv' in data folder 'data'", "`harness data pull --to DIR`"),
    (f"{RUN},gsm8k --data data", "in data folder 'data'", "`harness data pull --to DIR`"),
    (f"{RUN} --data hub", "sudoku has no test split from 'hub'; use --data DIR or --data builtin"),
    (f"{RUN} --model run", "'run' is a run; write its model with harness export first"),
    (f"{RUN} --model no/such/model", "Model 'no/such/model' is neither a folder nor a hub id such as GSAI-ML"),
    (f"{RUN} --model data", "Model 'data' has no config.json; name 'tiny', 'small', a hub id, or a folder"),
    (f"{RUN} --runs notes.txt", "Cannot write to 'notes.txt/", "--runs DIR"),
    (f"{RUN} --runs runs --budget updates=4", "finished with the budget updates=8 and kept no checkpoint", "--fresh"),
    ("eval run --task sudoku", "Run 'run' has no checkpoint yet; finish it with the same harness run command"),
    ("eval rnu --task sudoku", "Model 'rnu' is neither a folder nor a hub id", "Did you mean 'run'?"),
    ("export run --out new", "Run 'run' has no checkpoint yet"),
    ("export tiny --merge --out new", "'tiny' has no adapter to merge; leave out --merge"),
    ("export tiny --out broken", "'broken' exists and is not an empty folder; name a new one with --out DIR"),
    ("sft --model run --data pairs.jsonl --out new", "'run' is a run; write its model with harness export first"),
    (
        "sft --model tiny --data missing.jsonl --out new",
        "Cannot read 'missing.jsonl'",
        "name a JSONL file with --data FILE",
    ),
    ("report empty", "There are no runs in 'empty'. Start one with"),
    ("report missing", "'missing' is neither a folder nor an archive of runs (.tar.xz or .tar.gz). Start a run with"),
    ("report run", "There is no finished run in 'run'"),
    ("compare --task sudoku --against tiny,tiny", "'tiny' is named 2 times"),
    ("grade odd.jsonl --task sudoku", "odd.jsonl row 1, with a, has none of these forms: doc and resps"),
    ("grade sample.jsonl --task sudoku", "No file 'sample.jsonl' to grade. Did you mean 'samples.jsonl'?"),
    ("grade data --task sudoku", "'data' is not a regular file"),
    ("data verify missing", "'missing' is not a folder; harness data pull --to DIR fills one"),
    ("data prompts --protocol d1 --from missing --out new", "missing"),
]
MISTAKES = [*NAMES, *KEYS, *VALUES, *OPTIONS, *TWICE, *PLACES]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a researcher has lying about: nothing in it is what a command below asks for."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("data", "empty", "broken"):
        (folder / name).mkdir()
    for name, text in {
        "broken/mine.py": "@method('mine'\nclass Mine:\n",
        "itself.yaml": "extends: itself.yaml\n",
        "misspelt.yaml": "extends: tiny\noptimizer: {learning_rat: 1.0e-3}\n",
        "notes.txt": "Learning rate?\n",
        "odd.jsonl": '{"a": 1}\n',
        "pairs.jsonl": '{"prompt": "a", "answer": "b"}\n',
        "samples.jsonl": '{"id": "builtin-test-0000", "text": "1234"}\n',
        "seeds.yaml": "seed: [1, 2]\n",
        "tabs.yaml": "optimizer:\n\tlearning_rate: 1.0e-3\n",
    }.items():
        (folder / name).write_text(text)
    request = RunRequest(
        method="egspo", task="sudoku", runs=folder / "runs", overrides={"budget": parse_budget("updates=8")}
    )
    planned = plan(request)
    description = RunDescription(
        identity=planned.identity, config=planned.resolved.config.to_dict(), execution={}, provenance={}
    )
    for run in (folder / "run", planned.folder):
        run.mkdir(parents=True)
        write_description(run, description)
    write_status(planned.folder, RunStatus(state="finished", updates=8, samples=512))
    return folder


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(("line", "words"), [(line, words) for line, *words in MISTAKES], ids=lambda one: str(one))
def test_a_mistake_is_answered_with_what_to_write_instead(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]
) -> None:
    before, arguments = everything(workplace), shlex.split(line)
    monkeypatch.chdir(workplace)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(workplace / "cache"))
    if "=" in arguments[0]:
        monkeypatch.setenv(*arguments.pop(0).split("=", 1))
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert (shown.out.removeprefix(BEGUN), shown.err.count("\n")) == ("", 1)
    said = shown.err.removeprefix("harness: ")
    assert said != shown.err
    assert len(said) < LONGEST
    assert [word for word in words if word not in said] == [], said
    assert everything(workplace) == before


def test_no_mistake_stands_there_twice() -> None:
    lines = [line for line, *_ in MISTAKES]
    assert len(lines) == len(set(lines)) >= 100


def test_lists_are_separated_by_commas_in_options_that_there_are() -> None:
    commands = {command.name: command for command in SUBCOMMANDS}
    for name, options in LISTS.items():
        application = typer.Typer()
        application.command()(commands[name].load())
        known = {word: one for one in typer.main.get_command(application).params for word in one.opts}
        assert {option for option in options if not known[option].multiple} == options
