"""Uploading an exported folder to the Hugging Face hub, into a model repository of the user's own."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness import __version__
from harness.data.hub import client_errors, reason_of
from harness.errors import UserError


def check_repository(name: str) -> None:
    """Raises UserError for what cannot be the id of a repository on the hub."""
    from harness.models.hub import HUB_ID

    found = HUB_ID.fullmatch(name)
    if not found or found["revision"]:
        raise UserError(
            f"--push '{name}' is not the id of a repository on the hub; give OWNER/NAME, in letters, digits, '-', '_' "
            "and '.'."
        )


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Uploads the files of `folder` in one commit and returns the repository's address; it is made where there is none.

    private: whether only its owner may see it. The token is the environment's (HF_TOKEN, or `hf auth login`). Raises
    UserError where it cannot be done; the folder stays as it is.
    """
    from huggingface_hub import HfApi, get_token

    later = shlex.join(["hf", "upload", *(["--private"] if private else []), repository, str(folder)])
    written = f"'{folder}' is written but not on the hub"
    if get_token() is None:
        raise UserError(
            f"{written}: there is no token. Set HF_TOKEN to one that may write, or run `hf auth login`, then `{later}`."
        )
    client = HfApi()
    try:
        place = client.create_repo(repository, private=private or None, exist_ok=True)
        is_public = private and not client.model_info(repository).private
        if not is_public:
            client.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"Exported by diffusion-rl-harness {__version__}"
            )
    except client_errors() as error:
        raise UserError(
            f"{written}: '{repository}' could not be written to ({reason_of(error)}). Check the network, the name and "
            f"what the token may do, then run `{later}`."
        ) from error
    if is_public:
        raise UserError(
            f"{written}: '{repository}' exists and is public, which --private does not change. Make it private in its "
            f"settings, or choose another name, then run `{later}`."
        )
    return str(place)
