"""What stands around the code: links, the tutorial, the site, counts in the README, files for GitHub, extras."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import harness

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), *sorted(CHECKOUT.glob("*.md")), CHECKOUT / ".github" / "PULL_REQUEST_TEMPLATE.md"]
CODE = [
    path
    for room in ("harness", "tasks", "baselines", "bench", "tests", "docs")
    for path in (CHECKOUT / room).rglob("*.py")
]
REMOVED = (
    *(
        "asynchat",
        "asyncore",
        "distutils",
        "imp",
        "smtpd",
        "aifc",
        "audioop",
        "cgi",
        "cgitb",
        "chunk",
        "crypt",
        "imghdr",
    ),
    *("lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib"),
    *("uu", "xdrlib"),
)
"""Modules that Python 3.12 and 3.13 have no more (their "What's New")."""
PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
README = (CHECKOUT / "README.md").read_text()


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """docs/hooks/pages.py."""
    specification = importlib.util.spec_from_file_location("docs_hooks_pages", DOCS / "hooks" / "pages.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def read_yaml(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / name).read_text(encoding="utf-8"))


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    places = [place for place in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not place.startswith("http")]
    assert [place for place in places if not (page.parent / place).exists()] == []


def test_every_page_is_in_the_site_s_map_and_on_its_first_page() -> None:
    # mkdocs' own file names a function, which a safe loader does not read.
    text = (CHECKOUT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": ([\w-]+\.md)$", text, re.M))
    assert listed == {path.name for path in DOCS.glob("*.md")} | {"tutorial.md"}
    linked = set(re.findall(r"\]\(([\w-]+)\.\w+\)", (DOCS / "index.md").read_text()))
    assert linked == {name.removesuffix(".md") for name in listed} - {"index"}


def test_the_site_fetches_nothing() -> None:
    text = (CHECKOUT / "mkdocs.yml").read_text()
    assert "  font: false\n" in text
    assert not re.search(r"https?://", text.replace("(prefers", ""))


def test_links_out_of_the_docs_become_code_and_those_to_nowhere_end_the_build(pages: ModuleType) -> None:
    text = "[`a`](tasks.md#x) [`egspo.py`](../baselines/egspo.py) [the search](../results/study/study.mk#L1)"
    expected = "[`a`](tasks.md#x) `baselines/egspo.py` the search (`results/study/study.mk`)"
    assert pages.inside(text, Path()) == expected
    assert pages.inside("[up](../tasks.md)", Path("example-report")) == "[up](../tasks.md)"
    with pytest.raises(FileNotFoundError, match=r"'\.\./baselines/none\.py', which is not in the repository"):
        pages.inside("[x](../baselines/none.py)", Path())


def test_lists_are_spaced_as_the_site_needs_them_and_code_is_left_alone(pages: ModuleType) -> None:
    text = "Text:\n- one\n  - in it\n  more of one\n- two\n\n```\nText:\n- code\n  - code\n```\n"
    expected = "Text:\n\n- one\n    - in it\n    more of one\n- two\n\n```\nText:\n- code\n  - code\n```\n"
    assert pages.spaced_lists(text) == expected


def test_the_notebook_becomes_a_page(pages: ModuleType) -> None:
    made = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["a = 1\n", "a"]},
    ]
    assert pages.notebook_markdown(made) == "# Title\ntext\n\n```python\na = 1\na\n```\n"


def test_the_tutorial_has_text_before_every_cell_of_code_and_no_stored_output() -> None:
    kinds = [cell["cell_type"] for cell in cells()]
    assert 5 <= kinds.count("code") <= 8
    assert all(before == "markdown" for before, kind in itertools.pairwise(kinds) if kind == "code")
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells() if "outputs" in cell)


@pytest.mark.slow
def test_the_tutorial_trains_evaluates_plots_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells()):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "14.1 % of 64 puzzles solved" in said
    assert said.count("finished 32 updates") == 2
    assert len(names["axes"].lines) == 2
    assert re.search(r"egspo-sa-\w+-seed0 - tiny: \+\d\d\.\d points, p = \S+, clear: True", said)


def test_the_counts_in_the_readme_are_those_of_the_golden_data_and_the_attacks() -> None:
    golden = CHECKOUT / "tests" / "golden" / "data"
    losses = [json.loads(path.read_text()) for path in sorted((golden / "loss").glob("*.json"))]
    configurations = sum(len(one["configs"]) for one in losses if "configs" in one)
    samplers = [json.loads(path.read_text()) for path in sorted((golden / "sampler").glob("*_generate.json"))]
    batches = json.loads((golden / "sampler" / "fastdllm_batch.json").read_text())
    attacks = (CHECKOUT / "tests" / "scoring" / "sandbox" / "attacks.py").read_text().count("    Attack(")
    assert f"| {configurations} configurations |" in README
    assert f"| {sum(map(len, samplers)) + len(batches)} cases |" in README
    assert f"| {len(list((golden / 'trainer').glob('*.json')))} runs |" in README
    assert f"| {attacks} attacks |" in README


@pytest.mark.slow
def test_every_file_is_python_3_11_and_imports_nothing_that_later_ones_have_removed() -> None:
    assert len(CODE) > 500
    for path in CODE:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 11))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.partition(".")[0] for name in names}.intersection(REMOVED), path


def test_the_pythons_that_are_stated_are_the_same_everywhere() -> None:
    prefix = "Programming Language :: Python :: 3."
    assert [one for one in PROJECT["classifiers"] if one.startswith(prefix)] == [
        f"{prefix}{minor}" for minor in (11, 12, 13)
    ]
    assert PROJECT["requires-python"] == ">=3.11"
    for page in (README, (DOCS / "installation.md").read_text()):
        assert "Python 3.11 to 3.13" in page


def test_extras_are_documented_and_what_make_installs_is_pinned_within_its_range() -> None:
    extras = PROJECT["optional-dependencies"]
    text = (DOCS / "installation.md").read_text()
    assert {name for name in extras if f"`{name}`" in text} >= {"gpu", "track", "docs", "dev"}
    assert {Requirement(one).name for one in extras["track"]} == {"tensorboard", "trackio", "wandb"}
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    installed = [*PROJECT["dependencies"], *extras["dev"], *extras["docs"]]
    for requirement in map(Requirement, installed):
        assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), requirement


def test_the_citation_file_is_one_of_version_1_2_and_of_this_version() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    assert citation["authors"]
    assert all(author.keys() & {"name", "family-names", "alias"} for author in citation["authors"])
    assert (citation["title"], citation["version"]) == (PROJECT["name"], harness.__version__)
    assert citation["license"] == PROJECT["license"]


def test_the_workflow_runs_the_script_that_a_change_must_pass() -> None:
    workflow = read_yaml(".github/workflows/ci.yml")
    (job,) = workflow["jobs"].values()
    assert "bash .ci/run" in job["steps"][-1]["run"]
    assert workflow["permissions"] == {"contents": "read"}
    script = (CHECKOUT / ".ci" / "run").read_text()
    targets = set(re.findall(r"^([\w-]+):", (CHECKOUT / "Makefile").read_text(), re.M))
    called = set(re.findall(r"^make ([\w-]+)", script, re.M))
    assert {"lint", "test", "test-slow", "docs", "demo"} <= called <= targets


def test_issue_forms_ask_for_what_an_answer_needs() -> None:
    forms = {path.stem: read_yaml(str(path)) for path in (CHECKOUT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert forms.pop("config") == {"blank_issues_enabled": True}
    assert forms.keys() == {"bug", "method", "wrong-number"}
    for form in forms.values():
        assert form["name"]
        assert form["description"]
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert all(field["attributes"]["label"] for field in fields)
        assert any(field.get("validations", {}).get("required") for field in fields)


def test_hooks_before_a_commit_use_the_project_s_own_tools_and_download_nothing() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert [hook["entry"].split()[0] for hook in repository["hooks"]] == [
        ".venv/bin/ruff",
        ".venv/bin/ruff",
        ".venv/bin/mypy",
    ]


@pytest.mark.parametrize("name", ["Dockerfile", "harness.def"])
def test_containers_say_that_they_were_not_built_and_copy_what_is_there(name: str) -> None:
    text = (CHECKOUT / "containers" / name).read_text()
    assert "Not built by the tests" in text
    assert '--constraint constraints.txt ".[gpu,track]"' in text
    copied = re.findall(r"^COPY (.*) \S+$|^    (\S+) /harness/", text, re.M)
    places = {place for pair in copied for place in " ".join(pair).split()}
    assert places == {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "harness", "tasks", "baselines"}
