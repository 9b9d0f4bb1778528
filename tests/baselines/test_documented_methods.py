"""The table of all methods in docs/methods.md, the sections behind it and their option tables, held to the code.

What a method needs of a rollout is found by spoiling parts of the record, what it costs by the model's own meter: there
the formulas of `passes` hold for small options, and the table prints them for the published ones.
"""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest
import torch

from harness import registry
from harness.config.decoding import Decoding
from harness.config.recipes import load_recipe
from harness.config.resolve import resolve

specification = importlib.util.spec_from_file_location("small_methods", Path(__file__).parents[1] / "small_methods.py")
small_methods = importlib.util.module_from_spec(specification)
specification.loader.exec_module(small_methods)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("methods.md", "more-methods.md")}
HEADING = re.compile(r"^## ((.+) \(arXiv \d{4}\.\d{5}\): `(baselines/\w+\.py)`)$", re.MULTILINE)
METHOD_CELL = re.compile(
    r"\[(?P<title>.+)\]\((?P<page>[\w.-]*)#(?P<anchor>[\w-]+)\) \[`(?P<name>.+)`\]\((?P<file>.+)\)"
)
NAMES = small_methods.NAMES
YES = {"yes": True, "no": False}


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_rows():
    """Column -> cell of every row of the table, in order."""
    lines = PAGES["methods.md"].split("\n## All methods\n\n")[1].split("\n\n")[0].splitlines()
    columns = cells_of(lines[0])
    return [dict(zip(columns, cells_of(line), strict=True)) for line in lines[2:]]


ROWS = [row | METHOD_CELL.fullmatch(row["method"]).groupdict() for row in read_rows()]
ROW = {row["name"]: row for row in ROWS}


def sections():
    """File -> (page, heading, titles, text) of every section that is a method's."""
    found = {}
    for page, text in PAGES.items():
        for match in HEADING.finditer(text):
            own = text[match.end() :].split("\n## ")[0]
            found[match[3]] = (page, match[1], match[2].split(", "), own)
    return found


SECTIONS = sections()


def passes(name, method, rollout):
    """(updates, new, old, reference): updates per rollout, and forward passes per completion and update, where no
    completion ends early and no advantage is 0."""
    options, has_reference = method.config, method.needs_reference
    match name:
        case "agrpo":
            updates = options.mc_samples if options.stepping == "per-draw" else 1
            new, old = options.mc_samples / updates, 0
        case "egspo" | "egspo-sa":
            updates, old = -(-options.num_selected // options.slots_per_update), 0
            new = options.num_selected / updates
        case "tracerl":
            updates, steps = options.updates, rollout.num_steps
            new = old = -(-steps // options.shrink) / updates
        case "justgrpo":
            updates, new = options.inner_updates, rollout.completion_length
            old = new / updates if options.old == "recomputed" else 0
        case "dmpo":
            asked = options.elbo_samples / options.inner_updates
            return options.inner_updates, options.replicates, asked * has_reference, asked * has_reference
        case "spg" | "wd1":
            updates, new, old = options.inner_updates, options.num_t if name == "spg" else 1, 0
        case _:
            draws = {
                "bgpo": lambda: options.mc_samples,
                "coupled-grpo": lambda: 3,
                "d1": lambda: 1,
                "d2-stepmerge": lambda: options.segments,
                "espo": lambda: options.mc_samples * (2 if options.coupled else 1),
                "gdpo": lambda: options.mc_samples * (1 if options.quadrature == "mc" else int(options.quadrature[-1])),
                "gdsd": lambda: options.mc_samples * 2,
            }
            updates, new = options.inner_updates, draws[name]()
            old = 0 if name == "gdsd" and updates == 1 else new
    return updates, new, old, new * has_reference


def published(name):
    """The method of the `paper` recipe on MATH500, and the rollout's decoding."""
    cls = registry.get_method(name)
    layers = load_recipe("paper", method=name, task="math500")
    config = resolve(
        method=name, method_config=cls.Config, task="math500", recipe="paper", layers=layers, overrides={}
    ).config
    return cls(config=cls.Config(**config.method.options)), config.rollout


def without_ends(scored, policy):
    """The same completions with another token for every end token."""
    ids_BC = scored.rollout.completion_ids_BC
    ids_BC = torch.where(policy.is_end(ids_BC), 5, ids_BC)
    assert not policy.is_end(ids_BC).any()
    return dataclasses.replace(scored, rollout=dataclasses.replace(scored.rollout, completion_ids_BC=ids_BC))


def spoilt(scored, *, steps):
    """Steps in another order, or log-probabilities and entropies of another policy."""
    rollout = scored.rollout
    changes = {"unmask_step_BC": rollout.num_steps - 1 - rollout.unmask_step_BC}
    if not steps:
        names = ("logprob_BC", "entropy_BC")
        changes = {name: getattr(rollout, name).flip(0).flip(1) * 3 for name in names}
    return dataclasses.replace(scored, rollout=dataclasses.replace(rollout, **changes))


def first_gradient(method, scored, policy, score):
    """The gradient of the first update, and what was prepared."""
    draws = method.draw(scored, policy, torch.Generator().manual_seed(11))
    with torch.no_grad():
        prepared = method.prepare(scored, policy, score, draws)
    policy.predictor.zero_grad()
    sum(method.loss(policy, part)[0] for part in prepared.updates[0].parts).backward()
    return torch.cat([weight.grad.flatten() for weight in policy.predictor.parameters()]), prepared


def test_every_method_has_one_row_in_the_order_of_the_registry():
    assert [row["name"] for row in ROWS] == NAMES


def test_titles_files_and_anchors_are_those_of_the_registry_and_of_the_sections():
    for row in ROWS:
        entry = registry.entry("method", row["name"])
        assert (row["title"], row["file"]) == (entry.title, f"../baselines/{entry.path.name}")
        page, heading, titles, _ = SECTIONS[f"baselines/{entry.path.name}"]
        assert entry.title in titles
        assert (row["page"] or "methods.md") == page
        assert row["anchor"] == re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_section_is_of_a_registered_method_and_further_methods_stand_in_alphabetical_order():
    files = {f"baselines/{registry.entry('method', name).path.name}" for name in NAMES}
    assert set(SECTIONS) == files
    further = [section[2][0] for section in SECTIONS.values() if section[0] == "more-methods.md"]
    assert further == sorted(further, key=str.casefold)


def test_the_readme_names_the_paper_of_every_method_and_no_other():
    papers = [
        set(re.findall(r"\d{4}\.\d{5}", text)) for text in (README, *(section[1] for section in SECTIONS.values()))
    ]
    assert papers[0] == set().union(*papers[1:])


def test_every_method_that_a_command_names_is_registered():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile", *DOCS.glob("*.md")]
    named = {
        name
        for page in pages
        for words in re.findall(r"--methods? ([\w,-]+)", page.read_text(encoding="utf-8"))
        for name in words.split(",")
    }
    assert set(NAMES) <= named
    assert {registry.canonical_name("method", name) for name in named - {"mine"}} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_a_section_are_those_of_the_method(name):
    text = SECTIONS[f"baselines/{registry.entry('method', name).path.name}"][3]
    table = text.split("| option | values | official |\n|---|---|---|\n")[1].split("\n\n")[0]
    documented = [option for line in table.splitlines() for option in re.findall(r"`(\w+)`", cells_of(line)[0])]
    assert sorted(documented) == sorted(field.name for field in dataclasses.fields(registry.get_method(name).Config))


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_which_rollouts_and_models_a_method_takes(name):
    cls, row = registry.get_method(name), ROW[name]
    stated = [YES[row[column]] for column in ("cached", "own steps", "blocks")]
    assert stated == [cls.takes_cached, cls.takes_adaptive, cls.takes_blocks]


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_a_method_needs_of_a_rollout(name, random_model, scored, score):
    method, needs = small_methods.small_method(name), ROW[name]["needs"].split(", ")
    random_model.keep_reference()
    gradient, prepared = first_gradient(method, scored, random_model, score)
    wanted = [
        word
        for word, steps in (("steps", True), ("log-probabilities", False))
        if not torch.equal(gradient, first_gradient(method, spoilt(scored, steps=steps), random_model, score)[0])
    ]
    recorded = method.needs(random_model.shape, Decoding(), 12)
    wanted += ["behaviour distribution"] * recorded.behaviour
    wanted += ["greedy completions"] * (prepared.chosen is not None and prepared.chosen.greedy_ids_BKC is not None)
    assert needs == (wanted or ["text"])
    assert YES[ROW[name]["text alone"]] == (needs == ["text"])


@pytest.mark.parametrize("name", NAMES)
def test_a_rollout_costs_the_passes_of_the_formula(name, random_model, scored, score):
    method = small_methods.small_method(name)
    if name == "tracerl":
        method = dataclasses.replace(method, config=dataclasses.replace(method.config, post_num=-1))
    if name == "egspo-sa":
        method = dataclasses.replace(method, config=dataclasses.replace(method.config, stepwise_lambda=0.0))
    random_model.keep_reference()
    scored = without_ends(scored, random_model)
    with random_model.meter.measure() as cost:
        draws = method.draw(scored, random_model, torch.Generator().manual_seed(11))
        with torch.no_grad():
            prepared = method.prepare(scored, random_model, score, draws)
        for update in prepared.updates:
            sum(method.loss(random_model, part)[0] for part in update.parts).backward()
    updates, new, old, reference = passes(name, method, scored.rollout)
    rows = scored.rollout.num_rows
    assert len(prepared.updates) == updates
    assert cost.backwards == rows * updates * new
    assert cost.forwards == rows * updates * (new + old + reference)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_has_the_passes_of_the_published_options(name):
    updates, *each = passes(name, *published(name))
    assert ROW[name]["updates"] == str(updates)
    assert ROW[name]["passes"] == " + ".join(f"{number:g}" for number in each)
