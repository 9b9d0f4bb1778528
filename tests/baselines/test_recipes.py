"""The built-in protocols and recipes: legal, alike where methods are compared, and true to the published settings."""

import dataclasses

import pytest

from harness import registry
from harness.config.decoding import Decoding
from harness.config.recipes import built_in_folder, load_recipe
from harness.config.resolve import flatten, resolve
from harness.config.tree import PROFILES, BudgetConfig, Execution, LoraConfig, ModelConfig

TASK = "sudoku"
METHODS = registry.names("method")
ALL_WEIGHTS = ["bgpo", "coupled-grpo", "justgrpo", "tracerl"]
"""Methods whose authors trained all weights on all of their tasks."""
ITEMS = {"gsm8k": 1319, "math500": 500, "countdown": 256, "mbpp": 257, "humaneval": 164, "sudoku": 256}
CODE = ["mbpp", "humaneval"]


def whole(name, recipe, task=TASK):
    """Configuration, execution and provenance."""
    layers = load_recipe(recipe, method=name, task=task)
    config = registry.get_method(name).Config
    return resolve(method=name, method_config=config, task=task, recipe=recipe, layers=layers, overrides={})


def left_to_right(decoding):
    """As JustGRPO's rollouts go: blocks of one token, and nothing kept between them."""
    return dataclasses.replace(decoding, block_length=1, num_steps=decoding.completion_length, cache="none")


def rollout_of(name, decoding):
    """The rollouts of a method where those of the others are such."""
    return left_to_right(decoding) if name == "justgrpo" else decoding


def resolved(name, recipe, task=TASK):
    config = whole(name, recipe, task).config
    cls = registry.get_method(name)
    cls(config=cls.Config(**config.method.options)).check(config.rollout)
    return config


def test_every_task_has_a_protocol_and_every_method_recipes_and_no_file_is_of_another():
    assert sorted(ITEMS) == registry.names("task")
    assert sorted(path.stem for path in (built_in_folder() / "protocols" / "tasks").iterdir()) == sorted(ITEMS)
    assert sorted(path.stem for path in (built_in_folder() / "recipes").iterdir()) == sorted(METHODS)


@pytest.mark.parametrize("recipe", ["tiny", "small", "laptop", "paper"])
@pytest.mark.parametrize("task", ITEMS)
@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_states_only_what_differs_from_what_it_stands_on(name, task, recipe):
    stated = {}
    for layer in load_recipe(recipe, method=name, task=task):
        values = flatten(layer.values)
        assert [key for key, value in values.items() if stated.get(key) == value and key in stated] == []
        stated |= values


@pytest.mark.parametrize("task", ITEMS)
def test_the_tiny_protocol_alone_is_a_whole_run(task):
    (protocol,) = load_recipe("tiny", method="one of my own", task=task)
    cls = registry.get_method("agrpo")
    found = resolve(method="mine", method_config=cls.Config, task=task, recipe="tiny", layers=[protocol], overrides={})
    assert found.config.budget.samples > 0
    assert found.config.evaluation.items == 256
    assert found.config.rollout.completion_length == found.config.evaluation.decoding.completion_length
    assert set(found.provenance.values()) == {"protocol", "default"}


def test_a_tiny_recipe_in_every_value_that_is_no_default():
    found = whole("agrpo", "tiny", "mbpp")
    given = {key: source for key, source in found.provenance.items() if source != "default"}
    values = flatten({**found.config.to_dict(), "execution": vars(found.execution)})
    assert {key: values[key] for key in given} == {
        "reward": "correctness",
        "rollout.completion_length": 48,
        "rollout.block_length": 4,
        "rollout.num_steps": 24,
        "rollout.temperature": 1.0,
        "train.batch_size": 64,
        "train.group_size": 8,
        "optimizer.learning_rate": 3e-5,
        "optimizer.weight_decay": 0.0,
        "optimizer.max_gradient_norm": 1.0,
        "method.mc_samples": 4,
        "method.importance": "entropy",
        "method.draws": "low-discrepancy",
        "method.beta": 0.0,
        "method.divisor": "batch",
        "budget.samples": 1536,
        "evaluation.every": 12,
        "evaluation.items": 256,
        "evaluation.decoding.completion_length": 48,
        "evaluation.decoding.block_length": 4,
        "evaluation.decoding.num_steps": 24,
        "execution.checkpoint_every": 8,
    }
    assert [key for key, source in given.items() if source == "recipe"] == [
        "method.mc_samples",
        "method.importance",
        "method.draws",
        "method.beta",
        "method.divisor",
        "optimizer.learning_rate",
        "evaluation.every",
    ]


def test_a_paper_recipe_with_values_of_protocol_method_and_task():
    found = whole("espo", "paper", "humaneval")
    config = found.config
    assert (config.model.name, config.model.dtype) == ("GSAI-ML/LLaDA-8B-Instruct", "float32")
    assert (config.model.lora.rank, config.model.lora.alpha, config.model.lora.dropout) == (0, 64.0, 0.0)
    assert config.rollout == Decoding(completion_length=256, block_length=32, num_steps=256, temperature=1.0)
    assert (config.train.batch_size, config.train.group_size, config.train.max_prompt_length) == (160, 10, 400)
    assert (config.optimizer.weight_decay, config.optimizer.max_gradient_norm) == (0.1, 0.8)
    assert (config.budget, config.evaluation.every) == (BudgetConfig(updates=3000), 100)
    assert found.execution == Execution(micro_batch_size=1, checkpoint_every=12)
    sources = ["model.name", "rollout.num_steps", "train.batch_size", "optimizer.epsilon"]
    assert [found.provenance[key] for key in sources] == ["protocol", "recipe", "recipe", "default"]


@pytest.mark.parametrize("task", ITEMS)
@pytest.mark.parametrize("name", METHODS)
def test_laptop_recipes_train_small_adapters_of_a_small_model_for_a_short_while(name, task):
    config, first = resolved(name, "laptop", task), resolved("egspo-sa", "laptop", task)
    assert config.model == ModelConfig(
        name="dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", lora=LoraConfig(rank=16, alpha=32.0)
    )
    length = 64 if task in ("sudoku", "countdown") else 128
    decoding = Decoding(completion_length=length, block_length=32, num_steps=length // 2, cache="dual")
    assert config.evaluation.decoding == decoding
    assert first.rollout == dataclasses.replace(decoding, temperature=0.9)
    assert config.rollout == rollout_of(name, first.rollout)
    assert config.budget == BudgetConfig(samples=256) == first.budget
    assert (config.train.batch_size, config.evaluation.items, config.evaluation.every) == (16, 64, 0)
    assert config.method.options.get("beta", 0) == 0


@pytest.mark.parametrize("task", ITEMS)
@pytest.mark.parametrize("name", METHODS)
def test_every_paper_recipe_is_legal_and_evaluates_the_published_items(name, task):
    config = resolved(name, "paper", task)
    assert config.evaluation.items == ITEMS[task]
    assert config.evaluation.decoding == Decoding(completion_length=256, block_length=32, num_steps=128, temperature=0)
    assert config.data.train == ""
    if config.reward in PROFILES:
        assert config.reward in registry.get_task(task).profiles


@pytest.mark.parametrize("name", METHODS)
def test_tiny_runs_of_all_methods_start_alike_and_have_the_same_rollouts(name):
    config, first = resolved(name, "tiny"), resolved("egspo-sa", "tiny")
    assert config.rollout == rollout_of(name, first.rollout)
    assert config.budget == first.budget
    assert config.budget.samples == 1536
    assert (config.train.batch_size, config.train.group_size) == (64, 8)
    assert config.evaluation.decoding == first.evaluation.decoding
    assert config.method.options.get("beta", 0) == 0


@pytest.mark.parametrize("name", METHODS)
def test_small_runs_of_all_methods_and_tasks_start_alike_and_have_the_same_rollouts(name):
    decoding = Decoding(completion_length=64, block_length=16, num_steps=32)
    for task in ITEMS:
        config = resolved(name, "small", task)
        assert (config.model.name, config.reward, config.budget) == ("small", "task", BudgetConfig(samples=512))
        assert config.rollout == rollout_of(name, dataclasses.replace(decoding, temperature=1.0))
        assert config.evaluation.decoding == decoding
        assert (config.evaluation.items, config.evaluation.every) == (128, 0)
        assert (config.train.batch_size, config.train.group_size) == (32, 8)
        assert config.method.options.get("beta", 0) == 0


@pytest.mark.parametrize("name", METHODS)
def test_tiny_runs_are_evaluated_every_fourth_rollout(name):
    config = resolved(name, "tiny")
    options = config.method.options
    updates = options.get("inner_updates", options.get("num_selected", 1) // options.get("slots_per_update", 1))
    updates = options.get("updates", updates)
    assert config.evaluation.every == 4 * updates


@pytest.mark.parametrize("task", CODE)
@pytest.mark.parametrize("name", METHODS)
def test_tiny_runs_on_code_start_alike_and_are_paid_for_passing_all_tests(name, task):
    config, first = resolved(name, "tiny", task), resolved("egspo-sa", "tiny", "mbpp")
    assert config.rollout == rollout_of(name, first.rollout)
    assert (first.rollout.completion_length, first.rollout.block_length) == (48, 4)
    assert (config.budget, config.evaluation.decoding) == (first.budget, first.evaluation.decoding)
    assert (config.train.batch_size, config.train.group_size) == (64, 8)
    assert (config.reward, config.evaluation.items) == ("correctness", 256)
    assert config.method.options.get("beta", 0) == 0


@pytest.mark.parametrize(
    ("name", "rate", "group_size", "clip", "rank"),
    [
        ("egspo", 3e-5, 8, 0.2, 128),
        ("egspo-sa", 3e-5, 8, 0.2, 128),
        ("d1", 3e-6, 6, 0.5, 128),
        ("espo", 3e-6, 6, 0.2, 128),
        pytest.param("agrpo", 5e-6, 8, 0.2, 64),
    ],
)
def test_paper_recipes_hold_the_published_settings(name, rate, group_size, clip, rank):
    config = resolved(name, "paper")
    options = config.method.options
    assert config.optimizer.learning_rate == rate
    assert config.train.group_size == group_size
    assert options.get("clip_low", options.get("clip")) == clip
    assert config.model.lora.rank == rank
    assert config.model.lora.targets == ("all-and-head" if name == "agrpo" else "official-subset")
    assert config.evaluation.decoding.num_steps * 2 == config.evaluation.decoding.completion_length


def test_published_options_of_single_methods():
    assert resolved("d1", "paper").method.options["inner_updates"] == 8
    assert resolved("espo", "paper").method.options.get("beta", 0) == 0.01
    stepwise = resolved("egspo-sa", "paper").method.options
    assert (stepwise["stepwise_lambda"], stepwise["num_selected"], stepwise["slots_per_update"]) == (0.5, 8, 2)
    assert resolved("egspo", "paper").method.options["stepwise_lambda"] == 0


def test_published_settings_of_methods_that_take_a_completion_as_one_action():
    gdpo, gdsd, bgpo = (resolved(name, "paper", "math500") for name in ("gdpo", "gdsd", "bgpo"))
    assert [config.optimizer.learning_rate for config in (gdpo, gdsd, bgpo)] == [3e-7, 1e-5, 5e-7]
    assert [config.train.group_size for config in (gdpo, gdsd, bgpo)] == [6, 16, 8]
    assert (gdpo.method.options["quadrature"], gdpo.method.options["clip_high"]) == ("gauss-3", 0.5)
    assert (gdsd.method.options["psi"], gdsd.method.options["epsilon"]) == (10, 4e-4)
    assert (bgpo.method.options["mc_samples"], bgpo.method.options["run_length"]) == (16, 16)
    rollouts = [resolved("bgpo", "paper", task).rollout for task in ("gsm8k", "sudoku", "mbpp")]
    assert [(one.completion_length, one.num_steps) for one in rollouts] == [(512, 256), (256, 128), (512, 512)]


def test_agrpo_s_rollouts_are_tempered_and_truncated():
    rollout = resolved("agrpo", "paper").rollout
    assert (rollout.temperature, rollout.top_k, rollout.top_p) == (0.6, 150, 0.99)
    assert (rollout.completion_length, rollout.block_length, rollout.num_steps) == (384, 12, 128)


@pytest.mark.parametrize("task", [task for task in ITEMS if task != TASK])
@pytest.mark.parametrize("name", METHODS)
def test_agrpo_and_espo_train_on_their_own_rewards_where_the_task_has_them(name, task):
    own = name in registry.get_task(task).profiles
    assert own == (name == "espo" or (name == "agrpo" and task not in CODE))
    others = {"justgrpo": "correctness", "tracerl": "correctness"}
    assert resolved(name, "paper", task).reward == (name if own else others.get(name, "task"))


@pytest.mark.parametrize(
    ("task", "rate", "beta", "clip", "group_size", "batch_size", "num_steps"),
    [
        ("gsm8k", 3e-6, 0.001, 0.2, 6, 96, 256),
        ("math500", 3e-6, 0.001, 0.2, 16, 256, 256),
        ("countdown", 3e-6, 0.003, 0.0, 6, 96, 128),
        ("mbpp", 1e-6, 0.01, 0.2, 10, 160, 256),
        ("humaneval", 1e-6, 0.01, 0.2, 10, 160, 256),
        ("sudoku", 3e-6, 0.01, 0.2, 6, 96, 128),
    ],
)
def test_espo_differs_by_task(task, rate, beta, clip, group_size, batch_size, num_steps):
    config = resolved("espo", "paper", task)
    options = config.method.options
    assert config.optimizer.learning_rate == rate
    assert (options["beta"], options["clip_low"], options["clip_high"]) == (beta, clip, clip)
    assert (config.train.group_size, config.train.batch_size) == (group_size, batch_size)
    assert config.rollout.num_steps == num_steps


@pytest.mark.parametrize("task", ITEMS)
def test_all_weights_are_trained_where_the_authors_did_so_and_by_espo_on_code_alone(task):
    assert [name for name in METHODS if resolved(name, "paper", task).model.lora.rank == 0] == (
        sorted([*ALL_WEIGHTS, *(["espo"] if task in CODE else [])])
    )


@pytest.mark.parametrize(
    ("task", "inner_updates", "updates"),
    [
        ("gsm8k", 12, 7700),
        ("math500", 12, 6600),
        ("countdown", 8, 5000),
        ("mbpp", 12, 6000),
        ("humaneval", 12, 6000),
        ("sudoku", 8, 3800),
    ],
)
def test_d1_differs_by_task(task, inner_updates, updates):
    config = resolved("d1", "paper", task)
    assert config.method.options["inner_updates"] == inner_updates
    assert config.budget.updates == updates
