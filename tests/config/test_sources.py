"""The source of every value: read from the ends of the lines of recipes and protocols, and named by all of ours."""

import pytest

from harness import registry
from harness.app.plan import RunRequest, plan
from harness.config.embedded import EMBEDDED
from harness.config.recipes import load_recipe
from harness.config.resolve import resolve
from harness.config.sources import sources

PROTOCOL = """
# Not a source: it stands on a line of its own.
tiny:  # the section
  train: {batch_size: 16, group_size: 4}
  optimizer:  # the optimiser's section
    learning_rate: 1.0e-3
    beta1: 0.5  # the line itself
  budget: {samples: 64}
paper:
  budget: {updates: 3}
  model: {name: "a # b"}  # after a hash in quotes
"""
RECIPE = """
tiny:
  train: {group_size: 8}
  tasks:
    sudoku: &shared
      seed: 3  # of two tasks
    gsm8k: *shared
paper:
  extends: d1:tiny
  optimizer: {beta1: 0.25}  # the recipe that extends
"""


@pytest.fixture
def library(tmp_path):
    for name, text in {
        "protocols/tasks/sudoku": PROTOCOL,
        "protocols/tasks/gsm8k": PROTOCOL,
        "recipes/d1": RECIPE,
    }.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def sourced(recipe, *, method="d1", task="sudoku", folder=None, **overrides):
    layers = load_recipe(str(recipe), method=method, task=task, folder=folder)
    config = registry.get_method(method).Config
    found = resolve(
        method=method, method_config=config, task=task, recipe=str(recipe), layers=layers, overrides=overrides
    )
    return sources(found, folder=folder)


def named(found, *keys):
    return [found[key].source for key in keys]


def test_a_source_ends_the_line_of_its_value_or_of_the_nearest_section_around_it(library):
    found = sourced("tiny", folder=library)
    keys = ("train.batch_size", "optimizer.learning_rate", "optimizer.beta1", "budget.samples")
    assert named(found, *keys) == ["the section", "the optimiser's section", "the line itself", "the section"]
    assert (found["optimizer.beta1"].value, found["budget.samples"].value) == (0.5, 64)


def test_a_value_whose_line_and_sections_say_nothing_has_no_source(library):
    assert named(sourced("tiny", folder=library), "train.group_size") == [""]
    assert named(sourced("paper", method="egspo", folder=library), "budget.updates") == [""]


def test_a_hash_in_quotes_begins_no_comment(library):
    assert named(sourced("paper", method="egspo", folder=library), "model.name") == ["after a hash in quotes"]


@pytest.mark.parametrize("task", ["sudoku", "gsm8k"])
def test_values_of_single_tasks_have_theirs_also_where_two_tasks_share_them(library, task):
    assert named(sourced("tiny", task=task, folder=library), "seed") == ["of two tasks"]


def test_a_recipe_that_extends_another_leaves_it_its_sources(library):
    found = sourced("paper", folder=library)
    assert named(found, "optimizer.beta1", "optimizer.learning_rate", "seed") == [
        "the recipe that extends",
        "the optimiser's section",
        "of two tasks",
    ]


def test_a_file_of_ones_own_names_sources_too(library, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        "extends: tiny\nseed: 5  # a lucky number\ntrain: {group_size: 2}\ntasks: {sudoku: {reward: espo}}  # x"
    )
    found = sourced(own, folder=library)
    keys = ("seed", "train.group_size", "reward", "optimizer.beta1")
    assert named(found, *keys) == ["a lucky number", "", "x", "the line itself"]


def test_defaults_and_the_command_line_are_named_by_the_harness(library):
    found = sourced("tiny", folder=library, **{"optimizer.beta1": 0.75, "budget": {"updates": 2}})
    assert (found["optimizer.beta1"].value, found["optimizer.beta1"].source) == (0.75, "command line")
    assert named(found, "optimizer.epsilon", "execution.device") == ["default of the harness"] * 2
    assert named(found, "budget.updates", "budget.samples") == ["command line", "default of the harness"]


def test_a_planned_run_has_a_source_for_every_value(tmp_path):
    request = RunRequest(method="d1", task="gsm8k", model="GSAI-ML/LLaDA-8B-Instruct", seed=3, runs=tmp_path)
    found = sources(plan(request).resolved)
    assert all(value.source for value in found.values())
    assert named(found, "seed", "model.name", "model.dtype") == [
        "command line",
        "command line",
        "EGSPO's train.sh, ESPO's and AGRPO's train.yaml",
    ]
    assert (found["data.test"].value, found["data.test"].source) == ("hub", "default of the harness")


DOCUMENTS = {
    "EGSPO": ("code", "eval/mbpp.py", "eval_checkpoints.sh", "train.sh", "train.yaml"),
    "d1": (
        "code",
        "countdown_cd3_test.jsonl",
        "diffu_grpo_config.py",
        "eval.py",
        "paper",
        "sudoku_base.sbatch",
        "train.yaml",
    ),
    "AGRPO": ("accelerate.yaml", "agrpo_trainer.py", "code", "generate.py", "rewards.py", "train.yaml"),
    "ESPO": ("code", "script", "train.yaml"),
    "BGPO": ("paper",),
    "DARE": ("code", "ppo_trainer.yaml", "script"),
    "GDPO": ("paper",),
    "GDSD": ("code", "script", "train_gdsd.yaml"),
    "NeMo-RL": ("README", "gdpo_llada_8b.yaml"),
    "DMPO": ("code", "yaml"),
    "SPG": ("code", "paper"),
    "coupled-GRPO": ("code", "config_coupled_code.yaml"),
    "wd1": ("code", "paper", "scripts"),
    "d-OPSD": ("paper",),
    "JustGRPO": ("README.md", "code", "train.py"),
    "TraceRL": ("code", "rl_llada.yaml", "rl_reward.py"),
    "d2": ("script", "train.yaml"),
}
"""From what published values are known."""
KNOWN = [f"{author}'s {document}" for author, documents in DOCUMENTS.items() for document in documents]
OURS = ("default of the harness", "not stated; ours", "ours")


@pytest.mark.parametrize("task", registry.names("task"))
@pytest.mark.parametrize("method", registry.names("method"))
def test_every_value_of_a_paper_recipe_has_a_document_as_its_source_or_is_said_to_be_ours(method, task):
    found = sourced("paper", method=method, task=task)
    for key, value in found.items():
        print(f"{method} {task} {key}={value.value}: {value.source}")
    nameless = {
        key: value.source
        for key, value in found.items()
        if not value.source.startswith(OURS) and not any(document in value.source for document in KNOWN)
    }
    assert nameless == {}
    # A published number is not among the defaults: these are ours where no source says otherwise.
    defaults = {key for key, value in found.items() if value.source == OURS[0]}
    assert not defaults & {"train.batch_size", "optimizer.learning_rate", "method.beta", "model.name", "budget.updates"}


@pytest.mark.parametrize("task", registry.names("task"))
@pytest.mark.parametrize("method", registry.names("method"))
def test_recipes_of_the_embedded_models_are_ours_throughout(method, task):
    for name in EMBEDDED:
        found = sourced(name, method=method, task=task)
        assert {value.source for value in found.values()} == {"ours", "default of the harness"}


@pytest.mark.parametrize("task", registry.names("task"))
@pytest.mark.parametrize("method", registry.names("method"))
def test_laptop_recipes_are_ours_and_say_why(method, task):
    found = sourced("laptop", method=method, task=task)
    assert {value.source.partition(": ")[0] for value in found.values()} == {"ours", "default of the harness"}
    assert all(value.source.partition(": ")[2] for value in found.values() if value.source.startswith("ours"))


@pytest.mark.parametrize(
    ("method", "task", "key", "source"),
    [
        ("egspo", "sudoku", "method.clip_high", "EGSPO's train.sh"),
        ("egspo", "sudoku", "method.beta", "EGSPO's train.yaml"),
        ("egspo-sa", "mbpp", "method.stepwise_lambda", "EGSPO's train.sh; baseline: its code"),
        ("egspo-sa", "mbpp", "method.clip_high", "EGSPO's train.sh"),
        ("d1", "sudoku", "method.inner_updates", "d1's sudoku_base.sbatch"),
        ("d1", "gsm8k", "method.inner_updates", "d1's train.yaml"),
        ("d1", "math500", "budget.updates", "d-OPSD's paper"),
        ("d1", "mbpp", "budget.updates", "SPG's paper, appendix, of SPG itself"),
        ("agrpo", "gsm8k", "method.stepping", "AGRPO's agrpo_trainer.py under its accelerate.yaml"),
        ("agrpo", "countdown", "rollout.top_k", "AGRPO's train.yaml"),
        ("agrpo", "humaneval", "reward", "not stated; ours"),
        ("espo", "countdown", "method.clip_low", "ESPO's script"),
        ("bgpo", "gsm8k", "optimizer.learning_rate", "DARE's script"),
        ("bgpo", "mbpp", "method.clip_dual", "DARE's ppo_trainer.yaml"),
        ("gdpo", "sudoku", "method.clip_low", "NeMo-RL's gdpo_llada_8b.yaml"),
        ("gdpo", "gsm8k", "method.inner_updates", "NeMo-RL's README"),
        ("gdsd", "math500", "optimizer.learning_rate", "GDSD's script"),
        ("gdsd", "sudoku", "method.epsilon", "GDSD's train_gdsd.yaml"),
        ("espo", "sudoku", "method.clip_low", "ESPO's train.yaml"),
        ("espo", "humaneval", "optimizer.learning_rate", "ESPO's train.yaml, as this script says nothing"),
        ("espo", "humaneval", "evaluation.items", "d1's paper, appendix: all of HumanEval"),
    ],
)
def test_sources_of_single_published_values(method, task, key, source):
    assert named(sourced("paper", method=method, task=task), key) == [source]
