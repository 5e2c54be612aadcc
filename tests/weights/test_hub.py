"""Published weights by name: against a server on loopback that is laid out as theirs are."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import resnets
from resnets.errors import UserError
from resnets.weights import hub, torchvision_files
from resnets.weights.convert import open_model


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Serve the folder ``site``; `requests` are the paths that were asked for."""
    site = tmp_path / "site"
    site.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as http:
        http.requests = []  # type: ignore[attr-defined]
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_address[1]}"
        yield SimpleNamespace(site=site, url=url, requests=http.requests)  # type: ignore[attr-defined]
        http.shutdown()


@pytest.fixture
def torchvision_site(
    server: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """Publish a small network in place of torchvision's ResNet-18."""
    net = resnets.create_model("resnet18")
    torch.save(net.state_dict(), tmp_path / "draft.pth")
    content = (tmp_path / "draft.pth").read_bytes()
    file = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (server.site / file).write_bytes(content)
    weights = SimpleNamespace(url=f"https://download.pytorch.org/models/{file}")
    monkeypatch.setattr(hub, "_published", lambda name: weights)
    monkeypatch.setenv("RESNETS_TORCHVISION_URL", server.url)
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(**vars(server), file=file, net=net)


def test_torchvisions_weights_are_fetched_once(torchvision_site: SimpleNamespace) -> None:
    said: list[str] = []
    for _ in range(2):
        model = open_model("torchvision/resnet18.v1", say=said.append)
        assert torch.equal(model.weights["fc.bias"], torchvision_site.net.state_dict()["fc.bias"])
    assert torchvision_site.requests == [f"/{torchvision_site.file}"]
    told = [line for line in said if "licence BSD-3-Clause" in line]
    assert [line.split()[0] for line in told] == ["fetched", "cached"]
    assert model.licence == "BSD-3-Clause"


def test_create_model_takes_a_published_name(torchvision_site: SimpleNamespace) -> None:
    net = resnets.create_model("resnet18", weights="torchvision/resnet18.v1", num_classes=4)
    conv1 = torchvision_site.net.conv1.weight
    assert torch.equal(net.conv1.weight, conv1)
    assert net.fc.out_features == 4


def test_a_file_that_is_not_what_was_published(
    torchvision_site: SimpleNamespace, tmp_path: Path
) -> None:
    path = torchvision_site.site / torchvision_site.file
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="its SHA-256 is not"):
        hub.fetch("torchvision/resnet18.v1", print)
    assert not list((tmp_path / "cache").iterdir())


def test_a_cached_file_that_was_changed(torchvision_site: SimpleNamespace) -> None:
    path = hub.fetch("torchvision/resnet18.v1", print).path
    path.write_bytes(b"changed")
    with pytest.raises(UserError, match="its SHA-256 is not"):
        hub.fetch("torchvision/resnet18.v1", print)


def test_without_a_connection(
    torchvision_site: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETS_TORCHVISION_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be fetched"):
        hub.fetch("torchvision/resnet18.v1", print)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision/resnet18.v2", "not published; did you mean resnet18.v1"),
        ("torchvision/resnet99.v1", "is not published"),
        ("torchvision/vgg16.v1", "is not published"),
        ("timm/../../etc", "is not a name of the hub"),
    ],
)
def test_names_that_are_not_published(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hub.fetch(name, print)


def test_every_name_of_torchvisions_table_is_one_of_ours() -> None:
    weights = hub._published("resnext101_64x4d.v1")
    assert weights.url.endswith("resnext101_64x4d-173b62eb.pth")
    with pytest.raises(UserError) as caught:
        hub._published("x.v9")
    names = str(caught.value).partition("there are: ")[2].split(", ")
    assert {name.rpartition(".")[0] for name in names} <= set(resnets.list_models())


def test_every_digest_is_of_a_published_file() -> None:
    known = {torchvision_files.sha256(w) for w in torchvision_files.torchvision_weights().values()}
    full = {digest for digest in known if len(digest) == 64}
    assert full == set(torchvision_files.SHA256.values())
    assert {len(digest) for digest in known - full} <= {8}


def test_a_path_is_no_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.is_name("timm/resnet50.a1_in1k")
    assert not hub.is_name("runs/timm/best.safetensors")
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "x").touch()
    assert not hub.is_name("timm/x")


# -- the Hugging Face hub -------------------------------------------------------------------------


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(SimpleHTTPRequestHandler):
    """The part of the hub's protocol that fetching one file needs."""

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, head: bool) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        files = self.server.files  # type: ignore[attr-defined]
        owner, repo, *_, name = f"{self.path[1:]}////".split("/", 4)  # also of a shorter path
        content = files.get(f"{owner}/{repo}", {}).get(name.rstrip("/"))
        self.send_response(200 if content is not None else 404)
        if content is None:
            kind = "EntryNotFound" if f"{owner}/{repo}" in files else "RepoNotFound"
            self.send_header("X-Error-Code", kind)
        else:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if content is not None and not head:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def huggingface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    import huggingface_hub.constants as constants
    import timm

    peer = timm.create_model("resnet14t", num_classes=3)
    timm.models.save_for_hf(peer, str(tmp_path / "repo"), safe_serialization=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "repo").iterdir()}
    files["README.md"] = b"---\nlicense: apache-2.0\n---\n"
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as http:
        http.requests, http.files = [], {"timm/resnet14t.x_in1k": files}  # type: ignore[attr-defined]
        http.peer = peer  # type: ignore[attr-defined]
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield http
        http.shutdown()


def test_timms_weights_come_with_their_configuration(huggingface: ThreadingHTTPServer) -> None:
    said: list[str] = []
    model = open_model("timm/resnet14t.x_in1k", say=said.append)
    state = huggingface.peer.state_dict()  # type: ignore[attr-defined]
    assert torch.equal(model.weights["conv1.0.weight"], state["conv1.0.weight"])
    assert model.licence == "apache-2.0"
    assert any("licence apache-2.0" in line for line in said)
    assert model.preprocess.interpolation == "bicubic"
    json.dumps(model.describe())


def test_timms_weights_are_used_again_without_a_connection(
    huggingface: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_model("timm/resnet14t.x_in1k")
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(huggingface.requests)  # type: ignore[attr-defined]
    said: list[str] = []
    open_model("timm/resnet14t.x_in1k", say=said.append)
    assert len(huggingface.requests) == asked  # type: ignore[attr-defined]
    assert any(line.startswith("cached") for line in said)


def test_a_cached_blob_that_was_changed(huggingface: ThreadingHTTPServer, tmp_path: Path) -> None:
    open_model("timm/resnet14t.x_in1k")
    blob = max((tmp_path / "cache").rglob("blobs/*"), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors: its SHA-256 is not"):
        open_model("timm/resnet14t.x_in1k")


def test_weights_that_the_hub_does_not_have(huggingface: ThreadingHTTPServer) -> None:
    with pytest.raises(UserError, match=r"timm/resnet15\.x_in1k: the hub has no such weights"):
        open_model("timm/resnet15.x_in1k")
