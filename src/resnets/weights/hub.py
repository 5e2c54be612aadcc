"""Published weights by name: fetched only when asked, verified, cached.

``timm/NAME`` is a repository of the Hugging Face hub (weights and configuration), ``torchvision/
ROW.v1`` and ``.v2`` are files of torchvision's server. What has been fetched is used again without
a connection.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.console import Console
from resnets.errors import UserError, did_you_mean
from resnets.files import atomic, cache_folder
from resnets.weights.torchvision_files import file_name, sha256, torchvision_weights

Say = Callable[[str], None]
TIMM_FILES = ("model.safetensors", "config.json")
TORCHVISION_LICENCE = "BSD-3-Clause"
FILES = (".pth", ".pt", ".th", ".bin", ".safetensors", ".h5", ".keras", ".onnx")
CHUNK = 1 << 20


def is_name(source: object) -> bool:
    """Tell whether this names published weights rather than a file that is there."""
    text = str(source)
    named = text.startswith(("timm/", "torchvision/")) and not text.endswith(FILES)
    return isinstance(source, str) and named and not Path(text).exists()


@dataclass(frozen=True)
class Fetched:
    """The local copy of published weights: a file or a folder, and their licence."""

    path: Path
    licence: str


def fetch(source: object, say: Say) -> Fetched:
    """Return the local copy of published weights, fetching them if there is none.

    Raises:
      UserError: an unknown name, no connection, or a file that is not what was published.
    """
    family, _, name = str(source).partition("/")
    return {"timm": _timm, "torchvision": _torchvision}[family](name, say)


def _word(kept: bool) -> str:
    return "cached " if kept else "fetched"


# -- the Hugging Face hub -----------------------------------------------------------------------


def _timm(name: str, say: Say) -> Fetched:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise UserError(f"timm/{name} needs the hub: pip install 'resnets[hub]'") from None
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"timm/{name} is not a name of the hub")
    repo, found = f"timm/{name}", []
    kept = isinstance(huggingface_hub.try_to_load_from_cache(repo, TIMM_FILES[0]), str)
    offline = not _reachable()
    try:
        for file in TIMM_FILES:
            local = huggingface_hub.hf_hub_download(repo, file, local_files_only=offline)
            found.append(Path(local))
    except errors.RepositoryNotFoundError:
        raise UserError(f"{repo}: the hub has no such weights") from None
    except errors.LocalEntryNotFoundError:
        raise UserError(
            f"{repo}: no connection to the hub, and not fetched before; fetch "
            f"{' and '.join(TIMM_FILES)} elsewhere into a folder, and give that"
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(f"{repo}: {str(error).splitlines()[0]}") from None
    for path in found:
        _verify_blob(path, repo)
    licence = _licence(repo, offline)
    say(f"{_word(kept)}  {repo}: {found[0].parent}; licence {licence}")
    return Fetched(found[0].parent, licence)


def _reachable() -> bool:
    """Tell whether the hub answers: its own library would go on asking for half a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=10)  # whatever it says, it is there
    except Exception:  # httpx's or requests', as the version of the library has it
        return False
    return True


def _verify_blob(file: Path, repo: str) -> None:
    """Check a large file against its SHA-256, under which the hub's cache keeps it."""
    blob = file.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        _verify(blob, blob.name, f"{repo}: {file.name}")


def _licence(repo: str, offline: bool) -> str:
    """Return the licence of a repository as its card has it."""
    import huggingface_hub

    try:
        card = Path(huggingface_hub.hf_hub_download(repo, "README.md", local_files_only=offline))
        text = card.read_text(encoding="utf-8")
        fields = dict(re.findall(r"^(license\w*):\s*(\S+)", text, re.MULTILINE))
        return fields.get("license_name") or fields.get("license") or "not stated"
    except Exception:  # whatever the reason, the weights are there and the licence is not known
        return "not known"


# -- torchvision's server -----------------------------------------------------------------------


def _torchvision(name: str, say: Say) -> Fetched:
    weights = _published(name)
    file = file_name(weights)
    path: Path = cache_folder() / file
    digest, kept = sha256(weights), path.exists()
    if not kept:
        base = os.environ.get("RESNETS_TORCHVISION_URL", weights.url.rpartition("/")[0])
        _download(f"{base}/{file}", path, digest)
    _verify(path, digest)
    say(f"{_word(kept)}  torchvision/{name}: {path}; licence {TORCHVISION_LICENCE}")
    return Fetched(path, TORCHVISION_LICENCE)


def _published(name: str) -> Any:
    names = torchvision_weights()
    if name not in names:
        near = did_you_mean(name, names) or f"; there are: {', '.join(names)}"
        raise UserError(f"torchvision/{name} is not published{near}")
    return names[name]


def _download(url: str, path: Path, digest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        with temporary.open("wb") as file:
            for chunk in _chunks(url):
                file.write(chunk)
        _verify(temporary, digest, url)


def _chunks(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=60) as source:
            size = int(source.headers.get("Content-Length", 0)) or None
            label = f"Fetching {url.rpartition('/')[2]}"
            with Console().track(label, size, unit="bytes") as advance:
                while chunk := source.read(CHUNK):
                    yield chunk
                    advance(len(chunk))
    except OSError as error:  # also a URLError, and a connection that is lost on the way
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or reason
        raise UserError(
            f"{url}: cannot be fetched ({why}); fetch it elsewhere and give the file"
        ) from None


def _verify(path: Path, digest: str, name: object = None) -> None:
    """Check a file against its SHA-256, or the first digits of it."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digest):
        raise UserError(f"{name or path}: its SHA-256 is not {digest}: not the weights")
