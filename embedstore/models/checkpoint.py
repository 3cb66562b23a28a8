"""A checkpoint on disk, and its weights named by their hash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from embedstore.errors import FileFormatError, WeightsUnavailableError

# Weights in order of preference; an index names the shards of a split checkpoint.
_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Who wrote the configuration, and how weights are stored: no vector depends on them.
_ABOUT_THE_FILE = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint directory that is known to hold a configuration and weights.

    Attributes
    ----------
    directory
        Where the files are.
    repository
        Hub id that they come from, or None where that is not known.
    revision
        The commit, where the hub's own layout on disk says so; else None.
    weight_files
        The files that will be read, one or several shards, sorted by name.
    """

    directory: Path
    repository: str | None
    revision: str | None
    weight_files: tuple[Path, ...]

    @property
    def is_safetensors(self) -> bool:
        """Whether the weights are safetensors and not a pickle."""
        return self.weight_files[0].suffix == ".safetensors"

    def config(self) -> dict[str, Any]:
        """The parsed ``config.json``."""
        return read_config(self.directory)

    def config_sha256(self) -> str:
        """SHA-256, hexadecimal, of what in ``config.json`` can decide a vector: a norm's epsilon, say.

        The same weights under another configuration are another model.
        """
        config = {name: value for name, value in self.config().items() if name not in _ABOUT_THE_FILE}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()

    def weights_sha256(self) -> str:
        """SHA-256 of the weights, hexadecimal; does not load them.

        One file: the hash of its bytes, which the hub shows as its LFS object id. Shards: the hash of what
        ``sha256sum`` prints for them, one line ``<sha256>  <name>`` a shard, sorted by name.
        """
        hashes = [(path.name, _file_sha256(path)) for path in self.weight_files]
        if len(hashes) == 1:
            return hashes[0][1]
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes))
        return hashlib.sha256(lines.encode()).hexdigest()


def open_checkpoint(directory: Path) -> Checkpoint:
    """The checkpoint in a directory.

    Raises
    ------
    WeightsUnavailableError
        If there is no ``config.json`` or no complete set of weights.
    """
    expected = "config.json and model.safetensors or pytorch_model.bin (or their shards)"
    if not (directory / "config.json").is_file():
        raise WeightsUnavailableError(
            f"No config.json in {directory}; expected {expected}. Download the checkpoint again."
        )
    files = weight_files(directory)
    if not files:
        raise WeightsUnavailableError(f"No weights in {directory}; expected {expected}. Download the checkpoint again.")
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise WeightsUnavailableError(
            f"The weights in {directory} are not complete: {absent[0]} is missing ({len(absent)} of {len(files)} "
            "shards). Download the checkpoint again."
        )
    repository, revision = _origin(directory)
    return Checkpoint(directory=directory, repository=repository, revision=revision, weight_files=files)


def read_config(directory: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a checkpoint directory.

    Raises
    ------
    WeightsUnavailableError
        If there is none.
    FileFormatError
        If it is not a JSON object.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise WeightsUnavailableError(
            f"No config.json in {directory}; expected a checkpoint directory as transformers writes it."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{path} is not JSON: {error}. Download the checkpoint again.") from error
    if not isinstance(config, dict):
        raise FileFormatError(f"{path} holds a {type(config).__name__}; expected a JSON object.")
    return config


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The files of the preferred kind of weights, empty where there are none."""
    for name in _WEIGHT_FILES:
        path = directory / name
        if not path.is_file():
            continue
        if not name.endswith(".index.json"):
            return (path,)
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        return tuple(directory / shard for shard in shards)
    return ()


def _origin(directory: Path) -> tuple[str | None, str | None]:
    """Repository and commit, read from the two layouts that ``hf download`` writes."""
    if directory.parent.name == "snapshots" and _COMMIT.fullmatch(directory.name):
        return directory.parent.parent.name.removeprefix("models--").replace("--", "/"), directory.name
    # `hf download --local-dir`: the first line of a file's metadata is the commit that it came from.
    metadata = directory / ".cache" / "huggingface" / "download" / "config.json.metadata"
    if metadata.is_file():
        commit = metadata.read_text(encoding="utf-8").partition("\n")[0].strip()
        return None, commit if _COMMIT.fullmatch(commit) else None
    return None, None


def _file_sha256(path: Path) -> str:
    state = path.stat()
    return _sha256_of_state(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=256)
def _sha256_of_state(path: Path, size: int, modified_ns: int, inode: int) -> str:
    """Hash a file once for as long as it looks the same: two gigabytes take seconds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
