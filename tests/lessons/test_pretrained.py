"""The published weights when there is a network, a stand-in that says so when there is none."""

import hashlib
import socket
import urllib.error
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import resnet18

from course_utils.lessons import pretrained
from course_utils.lessons.pretrained import imagenet_resnet18


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


def serve(path, content):
    """Stand in for torchvision's enum: the same download code, from a file on this machine."""
    torch.save(content, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = path.rename(path.with_name(f"weights-{digest[:8]}.pth"))

    def get_state_dict(**options):
        return torch.hub.load_state_dict_from_url(named.as_uri(), **options)

    return SimpleNamespace(url=named.as_uri(), get_state_dict=get_state_dict), named


def test_published_weights_are_loaded(tmp_path, capfd):
    there = resnet18().state_dict()
    weights, _ = serve(tmp_path / "w.pth", there)
    found = imagenet_resnet18(weights)
    assert found.published
    assert all(torch.equal(found.state_dict[key], there[key]) for key in there)
    assert capfd.readouterr() == ("", "")


def test_a_changed_download_is_refused(tmp_path):
    weights, path = serve(tmp_path / "w.pth", {"fc.weight": torch.zeros(2)})
    path.write_bytes(path.read_bytes().replace(b"fc", b"cf"))
    with pytest.raises(RuntimeError, match="invalid hash value"):
        imagenet_resnet18(weights)


def test_a_download_that_would_run_code_is_refused(tmp_path):
    weights, _ = serve(tmp_path / "w.pth", {"x": pytest.fail})
    with pytest.raises(Exception, match="Weights only load failed"):
        imagenet_resnet18(weights)


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("Name or service not known"), TimeoutError("timed out")],
)
def test_offline_it_says_so(error):
    def get_state_dict(**options):
        assert socket.getdefaulttimeout() == pretrained.PATIENCE
        raise error

    found = imagenet_resnet18(SimpleNamespace(url="https://x.org/w", get_state_dict=get_state_dict))
    assert not found.published
    assert "random weights" in found.message
    assert "https://x.org/w" in found.message
    assert {k: v.shape for k, v in found.state_dict.items()} == {
        k: v.shape for k, v in resnet18().state_dict().items()
    }
    assert socket.getdefaulttimeout() is None
