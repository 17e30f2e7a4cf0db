"""Every message on the page of errors is raised here, in the situation the page describes."""

import re
import sys
import types

import pytest
import torch
from torch import nn

from course_utils.authoring.notebooks import NOTEBOOKS, read
from course_utils.lessons.faults import file_size_limit
from course_utils.lessons.models import MLP, TiedAutoencoder

SITUATIONS = {}


def raises(message):
    def keep(situation):
        SITUATIONS[message] = situation
        return situation

    return keep


@raises('Missing key(s) in state_dict: "features.1.weight"')
def prefix(tmp_path):
    MLP().load_state_dict(nn.DataParallel(MLP()).state_dict())


@raises('Missing key(s) in state_dict: "num_batches_tracked"')
def counter(tmp_path):
    state = nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"]
    nn.BatchNorm1d(2).load_state_dict(state)


@raises("size mismatch for head.weight")
def shapes(tmp_path):
    MLP(num_classes=4).load_state_dict(MLP().state_dict(), strict=False)


@raises("object has no attribute 'eval'")
def state_for_a_model(tmp_path):
    torch.save(MLP().state_dict(), tmp_path / "model.pt")
    torch.load(tmp_path / "model.pt").eval()


@raises("Cannot copy out of meta tensor; no data!")
def meta(tmp_path):
    with torch.device("meta"):
        model = nn.BatchNorm1d(2)
    model.to("cpu")


@raises("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False")
def cuda_file(tmp_path):
    torch.load(NOTEBOOKS / "data" / "saved_on_gpu.pt", map_location={"cuda:1": "cpu"})


@raises("Weights only load failed")
def whole_model(tmp_path):
    torch.save(MLP(), tmp_path / "whole.pt")
    torch.load(tmp_path / "whole.pt")


def save_whole(path, monkeypatch):
    module = types.ModuleType("old_name")
    exec("from torch import nn\nclass Net(nn.Linear): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "old_name", module)
    torch.save(module.Net(1, 1), path)
    return module


@raises("Can't get attribute 'Net'")
def moved_class(tmp_path, monkeypatch):
    module = save_whole(tmp_path / "whole.pt", monkeypatch)
    del module.Net
    torch.load(tmp_path / "whole.pt", weights_only=False)


@raises("No module named 'old_name'")
def renamed_module(tmp_path, monkeypatch):
    save_whole(tmp_path / "whole.pt", monkeypatch)
    monkeypatch.delitem(sys.modules, "old_name")
    torch.load(tmp_path / "whole.pt", weights_only=False)


@raises("failed finding central directory")
def cut(tmp_path):
    torch.save(MLP(hidden=1000).state_dict(), tmp_path / "cut.pt")
    data = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    torch.load(tmp_path / "cut.pt")


@raises("Ran out of input")
def empty(tmp_path):
    (tmp_path / "empty.pt").touch()
    torch.load(tmp_path / "empty.pt", weights_only=False)


@raises("invalid load key, '<'")
def page(tmp_path):
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><title>Not found</title>")
    torch.load(tmp_path / "page.pt", weights_only=False)


@raises("with TorchScript archives")
def script(tmp_path):
    torch.jit.script(nn.ReLU()).save(tmp_path / "script.pt")
    torch.load(tmp_path / "script.pt")


@raises("Error while deserializing header")
def no_safetensors(tmp_path):
    from safetensors.torch import load_file

    torch.save(MLP().state_dict(), tmp_path / "model.safetensors")
    load_file(tmp_path / "model.safetensors")


def stepped(model):
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer


@raises(
    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
)
def other_group(tmp_path):
    torch.optim.Adam(nn.Linear(1, 1).parameters()).load_state_dict(stepped(MLP()).state_dict())


@raises("The size of tensor a (6) must match the size of tensor b (4)")
def old_head(tmp_path):
    model = MLP(num_classes=4)
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    optimizer.load_state_dict(stepped(MLP(num_classes=6)).state_dict())
    model.head(torch.ones(1, 32)).sum().backward()
    optimizer.param_groups[0]["foreach"] = False
    optimizer.step()


@raises("param 'initial_lr' is not specified in param_groups[0]")
def faked(tmp_path):
    torch.optim.lr_scheduler.StepLR(torch.optim.SGD(MLP().parameters()), 10, last_epoch=3)


@raises("RNG state must be a torch.ByteTensor")
def generator(tmp_path):
    torch.set_rng_state(torch.get_rng_state().float())


@raises("The source state dict is empty")
def scaler(tmp_path):
    disabled = torch.amp.GradScaler("cpu", enabled=False)
    torch.amp.GradScaler("cpu").load_state_dict(disabled.state_dict())


@raises("If capturable=True, params and state_steps must be on supported devices")
def capturable(tmp_path):
    model = MLP()
    optimizer = stepped(model)
    optimizer.param_groups[0]["capturable"] = True
    optimizer.step()


@raises("Can't pickle")
def function(tmp_path):
    torch.save({"schedule": lambda step: 0.9**step}, tmp_path / "lambda.pt")


@raises("Some tensors share memory")
def tied(tmp_path):
    from safetensors.torch import save_file

    save_file(TiedAutoencoder().state_dict(), tmp_path / "tied.safetensors")


@raises("unexpected pos")
def full_disk(tmp_path):
    with file_size_limit(50_000):
        torch.save({"weight": torch.ones(1_000_000)}, tmp_path / "model.pt")


def messages():
    text = "\n".join(cell.source for cell in read(NOTEBOOKS / "faq.ipynb").cells)
    return re.findall(r"^### `(.+)`$", text, re.M)


def test_every_message_of_the_page_has_its_situation():
    assert sorted(messages()) == sorted(SITUATIONS)


def test_every_message_says_what_it_means_and_what_to_do():
    text = "\n".join(cell.source for cell in read(NOTEBOOKS / "faq.ipynb").cells)
    for entry in text.split("\n### ")[1:]:
        assert "**It means:**" in entry, entry
        assert "**Do:**" in entry, entry


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("message", SITUATIONS)
def test_the_message_comes(message, tmp_path, request):
    situation = SITUATIONS[message]
    names = situation.__code__.co_varnames[: situation.__code__.co_argcount]
    with pytest.raises(Exception, match=re.escape(message)):  # of whichever type
        situation(**{name: request.getfixturevalue(name) for name in names})
