"""What the pages hold: every block is of a known kind, Python runs, and YAML is taken by what it is for."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.app.new import new, render
from harness.app.plan import RunRequest, plan
from harness.cli.main import main
from harness.cli.options.cells import CellOptions
from harness.cli.plan import of_recipe
from harness.data.sources import DataSource
from harness.models.diffusion_lm import DiffusionLM
from harness.task.prompts import read_prompts

from .pages import CHECKOUT, PAGES, UNKNOWN, blocks, commands, marks_in, parts

PYTHON = {"api.md": 6, "methods.md": 2, "tasks.md": 2, "protocol.md": 1, "protocols.md": 2, "served.md": 1}
"""Blocks of a page. Those of api.md are the program of tests/app/test_api.py, that of served.md is executed in
test_execution.py, the others are looked at here."""
YAML = {"methods.md": 1, "tasks.md": 2, "protocol.md": 2, "lm-eval.md": 1}
"""Likewise; that of lm-eval.md is used in test_execution.py."""
SMALL = """Text with `harness list` <!-- needs-gpu -->, a `harness`, an `--option` and `harness
plan own.yaml`.

```sh
harness run --task a \\
    --seed 0,1  # twice; needs-network
HF_HOME=DIR torchrun --nproc-per-node 2 -m harness eval [--items 4]; make demo
```

<!-- needs-cluster -->

    srun python -m harness run ...

    harness report RUN && cd 'a b'

A formula:

    A = 1

What nobody knows:

    B

```yaml
a: 1
```
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a method and a task as `harness new` makes them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_included", [])
    new("method", "mine", Path("mine"))
    new("task", "backwards", Path("backwards"))
    registry.add_include_paths([Path("mine"), Path("backwards")])
    return tmp_path


def prompts() -> str:
    """The file of prompts in tasks.md."""
    return texts("tasks.md", "yaml")[0]


def texts(page: str, kind: str) -> list[str]:
    return [block.text for block in blocks(page) if block.kind == kind]


def test_a_page_is_read_into_blocks_and_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.md").write_text(SMALL)
    monkeypatch.setitem(PAGES, "small.md", tmp_path / "small.md")
    kinds = [(5, "commands"), (12, "commands"), (18, "formulas"), (22, UNKNOWN), (25, "yaml")]
    assert [(block.line, block.kind) for block in blocks("small.md")] == kinds
    assert [(str(one), *one.marks) for one in commands("small.md")] == [
        ("small.md:1: harness list", "needs-gpu"),
        ("small.md:1: harness plan own.yaml",),
        ("small.md:5: harness run --task a --seed 0,1", "needs-network"),
        ("small.md:7: HF_HOME=DIR torchrun --nproc-per-node 2 -m harness eval --items 4",),
        ("small.md:7: make demo",),
        ("small.md:12: srun python -m harness run ...", "needs-cluster"),
        ("small.md:14: harness report RUN", "needs-cluster"),
        ("small.md:14: cd 'a b'", "needs-cluster"),
    ]


def test_a_mark_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'needs-tpu' has a mark that is none of needs-gpu, needs-network, needs-clus"):
        marks_in(" needs-tpu ")


def test_every_block_is_of_a_known_kind() -> None:
    for page in PAGES:
        assert [f"{page}:{block.line}" for block in blocks(page) if block.kind == UNKNOWN] == []
        assert not [line for line, part in parts(page) if isinstance(part, str) and re.search("```|~~~", part)]


@pytest.mark.parametrize(("kind", "known"), [("python", PYTHON), ("yaml", YAML), ("json", {})])
def test_no_block_is_added_without_a_test_of_it(kind: str, known: dict[str, int]) -> None:
    assert Counter(page for page in PAGES for _ in texts(page, kind)) == known


@pytest.mark.parametrize(
    ("page", "kind", "name"), [("methods.md", "method", "mine"), ("tasks.md", "task", "backwards")]
)
def test_the_code_of_a_new_method_and_task_is_what_harness_new_writes(
    page: str, kind: registry.Kind, name: str
) -> None:
    shown = {block.text for block in blocks(page) if block.kind in ("python", "yaml")} - {prompts()}
    assert shown < set(render(kind, name, Path(name)).values())
    assert len(shown) == 3


def test_an_excerpt_stands_in_its_file() -> None:
    (excerpt,) = texts("protocol.md", "python")
    assert excerpt in (CHECKOUT / "baselines" / "egspo.py").read_text(encoding="utf-8")


def test_values_are_those_of_the_comments_beside_them(random_model: DiffusionLM) -> None:
    task = registry.get_task("gsm8k")()
    examples = task.examples("test", DataSource(kind="builtin"))[:1]
    names: dict[str, Any] = {"task": task, "examples": examples, "model": random_model}
    for line in "".join(texts("protocols.md", "python")).splitlines():
        code, _, value = line.partition("  # ")
        if not value:
            exec(code, names)
        elif " or " in value:
            assert repr(eval(code, names)) in re.split(", | or ", value)
        else:
            assert re.fullmatch(re.escape(value).replace(r"\.\.\.", ".*"), repr(eval(code, names)))


def test_prompts_are_taken(tmp_path: Path) -> None:
    (tmp_path / "prompts.yaml").write_text(prompts())
    found = read_prompts(tmp_path / "prompts.yaml", registry.names("task"))
    assert found.templates.keys() == {"sudoku", "gsm8k", "countdown"}
    for name in found.templates:
        assert found.template(registry.get_task(name))


def test_recipes_are_right(own: Path) -> None:
    (file, sections) = texts("protocol.md", "yaml")
    (own / "file.yaml").write_text(file)
    (cells,) = of_recipe(CellOptions(), "file.yaml")
    (request,) = cells.requests()
    assert plan(request).resolved.config.optimizer.learning_rate == 1.0e-5
    (own / "sections.yaml").write_text(sections)
    assert main(["plan", "sections.yaml", "--method", "agrpo"]) == 0
    for method, task, names in (
        ("mine", "math500", ("tiny", "small", "laptop", "paper")),
        ("egspo", "backwards", ("tiny", "paper")),
    ):
        for name in names:
            request = RunRequest(method=method, task=task, recipe=name, data="builtin", runs=own)
            assert plan(request).identity.recipe.endswith(name)
