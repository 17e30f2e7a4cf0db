"""Each private name of PyTorch may be missing or different: then the public way is taken.

Run by the table of versions as well, where some of them are.
"""

import argparse
import os

import pytest
import torch
from torch import nn

from course_utils.checkpoint import load, load_checkpoint, save_checkpoint, torch_versions
from course_utils.errors import DamagedCheckpointError, UnsafeCheckpointError
from course_utils.resume import TrainState, differences

STATE = {
    "model": {"weight": torch.arange(6.0).view(2, 3).T, "tied": torch.ones(4)[1:3]},
    "names": ["a", ("b", 2.5), None],
}
BY_TORCH = {**STATE, "device": torch.device("cpu")}  # what we do not build ourselves
GONE = [
    "_load",
    "_weights_only_unpickler",
    "_serialization_tls",
    "_get_allowed_globals",
    "_get_user_allowed_globals",
]


def refuses_our_arguments(zip_file, map_location, pickle_module, *, another_name):
    raise TypeError("no such arguments")


def ignores_the_unpickler(zip_file, map_location, pickle_module, **options):
    """A loader that would run what it is given."""
    import pickle

    return pickle.loads(zip_file.get_record("data.pkl"))


def returns_something_else(zip_file, map_location, pickle_module, **options):
    return {"a": torch.zeros(2), "b": [1, "x"]}


CHANGED = [refuses_our_arguments, ignores_the_unpickler, returns_something_else]


@pytest.fixture(autouse=True)
def tried_anew():
    torch_versions.private_loader.cache_clear()
    yield
    torch_versions.private_loader.cache_clear()


def break_name(patch, broken):
    """Take a name away from us, or another loader for PyTorch's; itself it needs its own."""
    private, changed = torch_versions.private, callable(broken)
    name, value = ("_load", broken) if changed else (broken, None)
    patch.setattr(
        torch_versions, "private", lambda *where: value if where[1] == name else private(*where)
    )


def check_everything(folder):
    """Save, load each way, notice damage, refuse what is no plain data, warn of it at the save."""
    for state in (STATE, BY_TORCH):
        path = save_checkpoint(folder / "state.pt", state)
        assert differences(torch.load(path, weights_only=True), state) == []
        for mmap in (False, True):
            assert differences(load_checkpoint(path, mmap=mmap), state) == []
        assert load_checkpoint(path, "meta")["model"]["weight"].is_meta
        check_damage(path)
    with pytest.warns(UserWarning, match="needs argparse.Namespace"):
        unsafe = save_checkpoint(folder / "unsafe.pt", {"options": argparse.Namespace(a=1)})
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(unsafe)


def check_damage(path):
    content = path.read_bytes()
    place = content.index(torch.arange(6.0).numpy().tobytes())
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        load_checkpoint(path)
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        load_checkpoint(path, mmap=True, verify_mapped=True)


def test_everything_as_it_is(tmp_path):
    check_everything(tmp_path)


@pytest.mark.parametrize(
    "broken", [*GONE, *CHANGED], ids=lambda thing: getattr(thing, "__name__", str(thing))
)
def test_without_a_private_name(tmp_path, monkeypatch, broken):
    break_name(monkeypatch, broken)
    check_everything(tmp_path)


@pytest.mark.parametrize(
    "broken", [*GONE[:2], *CHANGED], ids=lambda thing: getattr(thing, "__name__", str(thing))
)
def test_the_public_way_is_taken(tmp_path, monkeypatch, broken):
    path = save_checkpoint(tmp_path / "state.pt", BY_TORCH)
    taken = []
    monkeypatch.setattr(
        "course_utils.checkpoint.load.load_public", lambda *_: taken.append(1) or "public"
    )
    assert load_checkpoint(path) != "public"
    torch_versions.private_loader.cache_clear()
    break_name(monkeypatch, broken)
    assert load_checkpoint(path) == "public"
    assert taken == [1]


def test_a_train_state_goes_the_public_way(tmp_path, monkeypatch):
    break_name(monkeypatch, "_load")
    model = nn.Linear(2, 2)
    state = TrainState(model, torch.optim.AdamW(model.parameters()))
    path = save_checkpoint(tmp_path / "state.pt", state.state_dict())
    state.load_state_dict(load_checkpoint(path))


@pytest.mark.parametrize("broken", [None, "_serialization_tls", "skip_data"])
def test_a_save_leaves_the_data_out_where_torch_is_told_to(tmp_path, monkeypatch, broken):
    break_name(monkeypatch, broken)
    with torch.serialization.skip_data():
        save_checkpoint(tmp_path / "skipped.pt", STATE)
    assert not torch.load(tmp_path / "skipped.pt")["model"]["tied"].eq(1).all()


@pytest.mark.parametrize("version", ["2.6.0", "2.9.1+cpu", "2.10.0", "2.14.1", "3.0.0"])
def test_before_2_10_only_what_our_audit_calls_plain_data(tmp_path, monkeypatch, version):
    """CVE-2026-24747: the safe loader of earlier versions can be made to run code."""
    path = save_checkpoint(tmp_path / "state.pt", BY_TORCH)
    allowed = tmp_path / "allowed.pt"
    torch.save({"options": argparse.Namespace(a=1)}, allowed)
    monkeypatch.setattr(torch, "__version__", version)
    assert differences(load_checkpoint(path), BY_TORCH) == []
    with torch.serialization.safe_globals([argparse.Namespace]):
        if version in ("2.6.0", "2.9.1+cpu"):
            with pytest.raises(UnsafeCheckpointError, match=r"CVE-2026-24747.*calls argparse"):
                load_checkpoint(allowed)
            with pytest.raises(UnsafeCheckpointError, match=r"mine: refused.*CVE"):
                torch_versions.refuse_content_unless_plain(allowed.read_bytes(), "mine")
        else:
            assert load_checkpoint(allowed)["options"].a == 1
    torch_versions.refuse_content_unless_plain(path.read_bytes(), "mine")


def test_a_mapped_file_is_the_one_that_was_verified(tmp_path, monkeypatch):
    """By its descriptor: another one may have come to its path since."""
    break_name(monkeypatch, "_load")
    path = save_checkpoint(tmp_path / "state.pt", BY_TORCH)
    original = load.read_others

    def replace(file, records):
        os.replace(save_checkpoint(tmp_path / "other.pt", {"other": 1}), path)
        return original(file, records)

    monkeypatch.setattr(load, "read_others", replace)
    assert differences(load_checkpoint(path, mmap=True), BY_TORCH) == []
