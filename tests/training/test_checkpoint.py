from __future__ import annotations

from pathlib import Path

import pytest
import torch

from resnets.errors import UserError
from resnets.training import checkpoint
from resnets.training.checkpoint import generations, load_newest

TENSORS = {"a": torch.arange(5.0), "b": torch.zeros(()), "c": torch.tensor([1, 2])}


def test_there_and_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, TENSORS, {"epoch": 1})
    warnings: list[str] = []
    loaded = load_newest(tmp_path, warnings.append)
    assert loaded is not None
    tensors, state = loaded
    assert state == {"epoch": 1}
    assert all(
        torch.equal(tensors[k], v) and tensors[k].dtype == v.dtype for k, v in TENSORS.items()
    )
    assert not warnings


def test_two_generations_are_kept_and_no_draft(tmp_path: Path) -> None:
    for number in (1, 2, 3, 4):
        checkpoint.save(tmp_path, TENSORS, {"n": number})
    assert [p.name for p in generations(tmp_path)] == ["00000003", "00000004"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000003", "00000004"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_generation_is_reported_and_the_one_before_it_used(
    tmp_path: Path, name: str, damage: str
) -> None:
    checkpoint.save(tmp_path, TENSORS, {"n": 1})
    checkpoint.save(tmp_path, TENSORS, {"n": 2})
    file = generations(tmp_path)[-1] / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "truncate": lambda: file.write_bytes(content[: len(content) // 2]),
        "flip": lambda: file.write_bytes(content),
        "remove": file.unlink,
    }[damage]()
    warnings: list[str] = []
    loaded = load_newest(tmp_path, warnings.append)
    assert loaded is not None
    assert loaded[1] == {"n": 1}
    assert len(warnings) == 1
    assert "00000002" in warnings[0]
    # It is set aside: the next two are both good.
    for _ in range(2):
        checkpoint.save(tmp_path, TENSORS, {})
    assert [path.name for path in generations(tmp_path)] == ["00000003", "00000004"]
    assert (tmp_path / "00000002.damaged").is_dir()


def test_all_damaged_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path, print) is None
    checkpoint.save(tmp_path, TENSORS, {})
    (generations(tmp_path)[0] / "state.json").write_text("{}x")
    for _ in range(2):  # the second time, too: it must not look like a run that has none yet
        with pytest.raises(UserError, match="every checkpoint is damaged"):
            load_newest(tmp_path, lambda _: None)


def test_a_failed_write_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, TENSORS, {"n": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(tmp_path, TENSORS, {"n": 2})
    loaded = load_newest(tmp_path, print)
    assert loaded is not None
    assert loaded[1] == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["00000001"]


def test_an_optimizer_survives(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    for build in (
        lambda: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
        lambda: torch.optim.AdamW(net.parameters()),
    ):
        optimizer = build()
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        tensors = checkpoint.optimizer_tensors(optimizer)
        checkpoint.save(tmp_path, tensors, {})
        loaded = load_newest(tmp_path, print)
        assert loaded is not None
        fresh = build()
        checkpoint.restore_optimizer(fresh, loaded[0])
        restored = checkpoint.optimizer_tensors(fresh)
        assert restored.keys() == tensors.keys()
        assert all(torch.equal(restored[name], tensors[name]) for name in tensors)
