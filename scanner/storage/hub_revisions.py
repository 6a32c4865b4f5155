"""Pin inputs on the Hugging Face hub to a commit, so that a plan reads one state of a data set."""

import re
from dataclasses import replace

from scanner.errors import UserError
from scanner.storage.urls import split_url, url_of

_HUB = "hf://"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(
    r"(hf://(?:(?:datasets|models|spaces)/)?[^/@]+/[^/@]+)@(?:refs/[^/]+/[^/]+|[^/]+)"
)


def pinned(url: str) -> str:
    """Return an ``hf://`` URL of a repository with the commit that its revision now names; any
    other URL unchanged.

    Raises UserError if the repository or revision cannot be read, with what to do for one that is
    gated or private; errors of a hub that does not answer are raised unchanged.
    """
    if not url.startswith(_HUB):
        return url
    from huggingface_hub.errors import GatedRepoError
    from huggingface_hub.hf_file_system import HfFileSystemResolvedRepositoryPath

    fs, path = split_url(url)
    try:
        place = fs.resolve_path(path)
    except (FileNotFoundError, ValueError, NotImplementedError) as error:
        raise UserError(f"{url}: {_why(error)}") from error
    if not isinstance(place, HfFileSystemResolvedRepositoryPath):
        return url  # a bucket, which has no commits
    about = fs._api.repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision)
    if getattr(about, "gated", False):
        try:
            fs._api.auth_check(place.repo_id, repo_type=place.repo_type)
        except GatedRepoError as error:
            raise UserError(
                f"{url}: this repository is gated; accept its terms on its page "
                f"(https://huggingface.co/{place.root.partition('@')[0]}), then set HF_TOKEN to a "
                "token of that account"
            ) from error
    if _COMMIT.fullmatch(place.revision):
        return url
    return url_of(fs, replace(place, revision=about.sha, _raw_revision=None).unresolve())


def without_revision(url: str) -> str:
    """Return an ``hf://`` URL without its revision: one file of any state of a repository."""
    return _REVISION.sub(r"\1", url, count=1)


def _why(error: Exception) -> str:
    text = str(error)
    if "repository not found" in text:
        return (
            "no such repository on the hub, or it is private; check the name (hf://datasets/OWNER/"
            "NAME), and set HF_TOKEN for a private one"
        )
    if "revision not found" in text:
        return "the repository has no such revision (the part behind @)"
    return text
