"""The run folder: every file that a training run leaves, in one place."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self

import filelock
import yaml

from resnets.errors import UserError
from resnets.files import atomic

LOCK = ".lock"
HALVES = (".*.safetensors.*", ".*.csv.*", ".*.html.*", ".*.parquet.*", ".*.yaml.*", ".cache-*")
"""How files are called while they are written, and those that several processes share."""


@dataclass(frozen=True)
class Config:
    """``config.yaml``: all that, with the data, determines a run.

    Attributes:
      data: what was trained on, as `open_dataset` takes it, with `data_options`; None for arrays.
      fingerprint: of the data's ids, labels and splits, checked before resuming.
      split: how the splits came about.
      weights: what training starts from, if anything.
      processes, local: how many it trained in when it began, and on one machine; `job`: torchrun's
        name of them, if it has started them.
      speed: what was said of it, `machine`'s fields being what came of that.
      budget: seconds that the whole run was to take; 0 for as long as its epochs do. `settled`: the
        recipe has the epochs that fit into them.
      start: the licence and the record of data of these weights, which the run's own carry on.
      spec, preprocess, recipe, machine: as their classes' `to_dict` gives them.
    """

    data: str | None
    data_options: Mapping[str, Any]
    fingerprint: str
    split: Mapping[str, Any]
    classes: tuple[str, ...]
    spec: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    recipe: Mapping[str, Any]
    machine: Mapping[str, Any]
    seed: int
    workers: int
    checkpoint_every: str
    versions: Mapping[str, str]
    processes: int = 1
    local: int = 1
    job: str = ""
    weights: str | None = None
    speed: str = "exact"
    budget: float = 0.0
    settled: bool = False
    start: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "classes": tuple(values["classes"])})

    def here(self) -> int:
        """Return in how many processes to go on, on this machine.

        Raises:
          UserError: the run was of several machines.
        """
        if self.processes != self.local:
            raise UserError(
                f"the run was of {self.processes} processes on several machines: resume it with "
                "torchrun, or give --nproc"
            )
        return self.processes


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of a run below `path`; `made` tells whether the folder is new."""

    path: Path
    made: bool = False

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new, empty run folder. Raises UserError if it exists and is not empty."""
        cls.check_free(path)
        made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create the run folder {path}: {error.strerror}") from None
        return cls(path, made)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise UserError unless a run folder can be made at `path`."""
        try:
            taken = path.exists() and (not path.is_dir() or _has_files(path))
        except OSError as error:
            raise UserError(f"cannot create the run folder {path}: {error.strerror}") from None
        if taken:
            way_out = f", or continue it with `resnets resume {path}`" if path.is_dir() else ""
            raise UserError(f"{path} exists: choose another --out{way_out}")

    @classmethod
    def numbered(cls, parent: Path, name: str) -> Self:
        """Make ``parent/name-1``, or the first number that is free."""
        number = 1
        while True:
            try:
                path = parent / f"{name}-{number}"
                path.mkdir(parents=True)
                return cls(path, made=True)
            except FileExistsError:
                number += 1
            except OSError as error:
                raise UserError(f"cannot create the run folder {path}: {error.strerror}") from None

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder; the system forgets with this one.

        Raises:
          UserError: another process has it.
        """
        lock = filelock.FileLock(self.path / LOCK, blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise UserError(
                f"{self.path} is in use: another process trains in it; wait for it, or stop it"
            ) from None
        except OSError as error:
            raise UserError(f"cannot lock {self.path}: {error.strerror}") from None
        try:
            yield
        finally:
            lock.release()

    def sweep(self) -> None:
        """Remove the halves of files that a kill has left. Only while nobody else writes."""
        for pattern in HALVES:
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def write_config(self, config: Config) -> None:
        values = {**asdict(config), "classes": list(config.classes)}
        with atomic(self.path / "config.yaml") as temporary:
            text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
            temporary.write_text(text, encoding="utf-8")

    def read_config(self) -> Config:
        """Read ``config.yaml``. Raises UserError where there is none, or it is not a run's."""
        path = self.path / "config.yaml"
        try:
            return Config.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            inside = self.path.is_file() and (self.path.parent / "config.yaml").is_file()
            hint = f"; did you mean {self.path.parent}?" if inside else ""
            raise UserError(
                f"{self.path} is not a run folder: it has no config.yaml{hint}"
            ) from None
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} is not a run's configuration ({reason})") from None

    def discard(self) -> None:
        """Remove what a run that never began has left, so that its name is free again."""
        with suppress(OSError):
            for name in ("config.yaml", "splits.csv", LOCK):
                (self.path / name).unlink(missing_ok=True)
            if self.checkpoints.exists():
                self.checkpoints.rmdir()
            if self.made:
                self.path.rmdir()

    def write_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write ``history.csv``, one row an epoch."""
        with atomic(self.path / "history.csv") as temporary:
            self._write_csv(temporary, list(rows[0]), [list(row.values()) for row in rows])

    def write_splits(self, splits: Mapping[str, Sequence[str]]) -> None:
        """Write ``splits.csv``: which sample was in which split."""
        with atomic(self.path / "splits.csv") as temporary:
            rows = ((sample, split) for split, samples in splits.items() for sample in samples)
            self._write_csv(temporary, ["path", "split"], rows)

    @staticmethod
    def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)


def _has_files(folder: Path) -> bool:
    """Tell whether there is more than what a kill before the first file of a run leaves."""
    names = {path.name for path in folder.iterdir()}
    if LOCK in names:  # which a run makes first: else a table of splits is the user's
        names -= {LOCK, "splits.csv"}
    return not all(map(_is_half, names))


def _is_half(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in HALVES)
