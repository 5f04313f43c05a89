"""Learners on the Hugging Face Hub.

A repository holds a saved learner and a model card. Only safetensors, JSON and the card are downloaded, and no code
from the Hub is run.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from mtnets.arguments import Such, checked_arguments
from mtnets.errors import OptionError, RunError, first_line
from mtnets.files import replacing
from mtnets.inner import Method
from mtnets.interop.model_card import LIBRARY, model_card
from mtnets.learner.learner import CARD, WEIGHTS, Learner, load
from mtnets.networks.model import Model

README = "README.md"
FILES = (WEIGHTS, CARD, README)
MOST_BYTES = 4 << 30  # far above learners of usual networks


@checked_arguments
def load_from_hub(
    repo_id: str,
    *,
    revision: str | None = None,
    model: Model | None = None,
    method: Method | None = None,
    token: str | None = None,
    most_bytes: Annotated[int, Such(lambda most: most > 0, "a whole number above 0")] = MOST_BYTES,
) -> Learner:
    """Reads a learner from a repository of the Hub.

    Args:
      repo_id: the repository, `"user/name"`.
      revision: branch, tag or commit of the repository. Defaults to its main branch.
      model: the network, if it is not a built-in one.
      method: the method, if it is not one of `mtnets.METHODS`.
      token: for a private repository. Defaults to the token that `hf auth login` stores.
      most_bytes: how large the files of the learner may be in all; the Hub says it before anything is downloaded.

    Raises:
      OptionError: without the extra `mtnets[hub]`, and for fewer than 1 byte.
      RunError: if there is no such repository or revision, it holds no learner or a larger one, or the Hub cannot be
        reached; and as `mtnets.load`.
    """
    hub = _library()
    with _plain_errors(repo_id, revision):
        folder = _snapshot(hub, repo_id, revision, token, most_bytes)
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"The repository {repo_id} has no {WEIGHTS}, so it holds no learner; name another one.")
    return load(folder, model=model, method=method)


@checked_arguments
def push_to_hub(
    learner: Learner,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    licence: str | None = None,
    commit_message: str = "Learner of mtnets",
) -> str:
    """Writes a learner with its model card into a repository of the Hub, which is created if it does not exist.

    Args:
      learner: the learner.
      repo_id: the repository, `"user/name"`.
      private: whether a new repository is private; one that exists stays as it is.
      token: a token with write access. Defaults to the token that `hf auth login` stores.
      licence: as the Hub names it, for example `"mit"`. Defaults to the one on record, if any.
      commit_message: message of the commit.

    Returns:
      The address of the repository.

    Raises:
      OptionError: without the extra `mtnets[hub]`.
      RunError: if the token has no write access, or the Hub cannot be reached.
    """
    api = _library().HfApi(token=token, library_name=LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        learner.save(folder)
        with replacing(Path(folder) / README) as file:
            file.write(model_card(learner, repo_id, licence).encode())
        with _plain_errors(repo_id):
            address = api.create_repo(repo_id, private=private or None, exist_ok=True)
            api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, allow_patterns=list(FILES)
            )
    return str(address)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise OptionError("The Hugging Face Hub needs one more package: pip install 'mtnets[hub]'.") from error
    return huggingface_hub


def _snapshot(hub: Any, repo_id: str, revision: str | None, token: str | None, most_bytes: int) -> Path:
    """The folder with the files of a learner; from the cache alone where the Hub does not answer."""
    from huggingface_hub import errors

    options = {"revision": revision, "token": token, "allow_patterns": list(FILES), "library_name": LIBRARY}
    try:
        info = hub.HfApi(token=token, library_name=LIBRARY).model_info(repo_id, revision=revision, files_metadata=True)
    except errors.RevisionNotFoundError:
        raise
    except (*errors.HfHubHTTPError.__bases__, OSError) as error:  # pyright: ignore[reportGeneralTypeIssues]
        try:
            return Path(hub.snapshot_download(repo_id, local_files_only=True, **options))
        except errors.LocalEntryNotFoundError:
            if isinstance(error, errors.RepositoryNotFoundError):
                raise error from None
            raise
    _check_size(repo_id, info, most_bytes)
    return Path(hub.snapshot_download(repo_id, **options))


def _check_size(repo_id: str, info: Any, most_bytes: int) -> None:
    """Raises RunError for files that are larger in all than `most_bytes`, or whose sizes the Hub does not say."""
    sizes = {file.rfilename: file.size for file in info.siblings if file.rfilename in FILES}
    for name, size in sizes.items():
        if size is None:
            raise RunError(
                f"The Hub does not say how large {name} of {repo_id} is; download it yourself, and load the folder: "
                "mtnets.load(folder)."
            )
    if (total := sum(sizes.values())) > most_bytes:
        raise RunError(
            f"The learner in {repo_id} has {total} bytes, and at most {most_bytes} are downloaded; if you trust it, "
            f"load_from_hub(..., most_bytes={total})."
        )


@contextlib.contextmanager
def _plain_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turns errors of the Hub into one sentence with a remedy."""
    from huggingface_hub import errors  # a submodule, which `huggingface_hub.errors` does not import

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise RunError(
            f"The repository {repo_id} has no revision {revision!r}; name a branch, tag or commit of it."
        ) from error
    except errors.GatedRepoError as error:
        raise RunError(
            f"Access to the repository {repo_id} must be granted by its owner; request it on its page, then hf auth "
            "login."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise RunError(
            f"The Hub has no repository {repo_id!r} that this token may read. Check the spelling; for a private one, "
            "hf auth login first. A folder, or a learner that ships, is read by mtnets.load."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise RunError(
            f"The Hub cannot be reached and {repo_id} is not in its cache; check the network, or load a folder that "
            "holds the learner: mtnets.load(folder)."
        ) from error
    # The base classes are the errors of the HTTP library, which differs between versions.
    except (*errors.HfHubHTTPError.__bases__, OSError) as error:  # pyright: ignore[reportGeneralTypeIssues]
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise RunError(
                f"The token has no write access to {repo_id}; get one that has, and hf auth login."
            ) from error
        raise RunError(
            f"The Hub did not serve {repo_id}: {first_line(error)}. Check the network, or try again later."
        ) from error
