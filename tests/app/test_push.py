"""harness export --push: what the hub's client is asked for, and one sentence where it fails; the export stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from harness.app.push import check_repository
from harness.cli.main import main
from harness.errors import UserError

Capture = pytest.CaptureFixture[str]
ADDRESS = "https://huggingface.co/me/sudoku"


@dataclass
class Hub:
    """Stands in for the hub's client and writes down what it is asked for. error: of its first call; is_private: of the
    repository."""

    error: Exception | None = None
    is_private: bool = False
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def create_repo(self, repository: str, **options: Any) -> str:
        if self.error:
            raise self.error
        self.calls.append(("create_repo", {"repository": repository, **options}))
        return ADDRESS

    def model_info(self, repository: str) -> SimpleNamespace:
        return SimpleNamespace(private=self.is_private)

    def upload_folder(self, **options: Any) -> None:
        files = sorted(path.name for path in options.pop("folder_path").iterdir())
        self.calls.append(("upload_folder", {"files": files, **options}))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    client = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: client)
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_token")
    return client


@pytest.fixture
def push(tmp_path: Path, capsys: Capture) -> Callable[..., tuple[int, str, str]]:
    """Exports the tiny model into `out`, pushes it, and returns the exit code and what was said on both streams."""

    def call(*options: str, to: str = "me/sudoku") -> tuple[int, str, str]:
        code = main(["export", "tiny", "--out", str(tmp_path / "out"), "--push", to, *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_folder_with_its_card_is_uploaded_in_one_commit(hub: Hub, push: Callable[..., Any]) -> None:
    code, out, _ = push()
    assert code == 0
    assert out.splitlines()[-1] == f"Uploaded to {ADDRESS}"
    assert hub.calls == [
        ("create_repo", {"repository": "me/sudoku", "private": None, "exist_ok": True}),
        (
            "upload_folder",
            {
                "files": ["README.md", "config.json", "model.safetensors"],
                "repo_id": "me/sudoku",
                "commit_message": "Exported by diffusion-rl-harness 0.1.0",
            },
        ),
    ]


def test_a_private_repository_is_asked_for(hub: Hub, push: Callable[..., Any]) -> None:
    hub.is_private = True
    assert push("--private")[0] == 0
    assert [name for name, _ in hub.calls] == ["create_repo", "upload_folder"]
    assert hub.calls[0][1]["private"] is True


def test_nothing_private_is_uploaded_where_everyone_sees_it(hub: Hub, push: Callable[..., Any]) -> None:
    code, _, err = push("--private")
    assert code == 2
    assert "'me/sudoku' exists and is public, which --private does not change" in err
    assert [name for name, _ in hub.calls] == ["create_repo"]


def test_without_a_token_the_export_stays_and_the_sentence_says_how_to_upload_it(
    hub: Hub, push: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, out, err = push()
    place = tmp_path / "out"
    assert (code, out) == (2, "")
    assert err == (
        f"harness: '{place}' is written but not on the hub: there is no token. Set HF_TOKEN to one that may write, or "
        f"run `hf auth login`, then `hf upload me/sudoku {place}`.\n"
    )
    assert sorted(path.name for path in place.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert hub.calls == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OfflineModeIsEnabled("Cannot reach the hub: offline mode is enabled."), "offline mode is enabled"),
        (ConnectionError("Name or service not known"), "Name or service not known"),
        (OSError("403 Forbidden: you may not write to 'them'.\nMore of it."), "you may not write to 'them'"),
    ],
)
def test_a_hub_that_cannot_be_reached_or_refuses_is_one_sentence_and_the_export_stays(
    hub: Hub, push: Callable[..., Any], tmp_path: Path, error: Exception, reason: str
) -> None:
    hub.error = error
    code, out, err = push("--private")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'me/sudoku' could not be written to (" in err
    assert reason in err
    assert "hf_not_a_token" not in err
    assert err.endswith(f"then run `hf upload --private me/sudoku {tmp_path / 'out'}`.\n")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "name", ["sudoku", "me/too/deep", "me/", "me/a b", "me/.hidden", "https://huggingface.co/me/x"]
)
def test_what_cannot_be_a_repository_is_refused_before_anything_is_written(name: str) -> None:
    with pytest.raises(UserError, match=r"is not the id of a repository on the hub; give OWNER/NAME"):
        check_repository(name)


def test_a_name_that_is_refused_leaves_no_export(hub: Hub, push: Callable[..., Any], tmp_path: Path) -> None:
    assert push(to="sudoku")[0] == 2
    assert not (tmp_path / "out").exists()


def test_private_without_a_repository_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert main(["export", "tiny", "--out", str(tmp_path / "out"), "--private"]) == 2
    assert "name it with --push OWNER/NAME" in capsys.readouterr().err
