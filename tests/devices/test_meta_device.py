"""A model without memory gets a file's tensors: all of them, tied, in its own dtype."""

import threading

import pytest
import torch
from torch import nn

from course_utils.devices.map_location import empty_parameters, load_into_meta
from course_utils.errors import DamagedCheckpointError, MismatchedCheckpointError
from course_utils.lessons.models import MLP, DigitsCNN, TiedAutoencoder


class Rotating(nn.Module):
    """Parameters, a persistent buffer, and one that only the constructor knows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("angles", torch.arange(4.0), persistent=False)

    def forward(self, inputs):
        return self.norm(self.layer(inputs)) + self.angles


@pytest.fixture(params=[False, True], ids=["read", "mapped"])
def mmap(request):
    return request.param


def saved(state, tmp_path):
    torch.save(state, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def trained(kind):
    model = kind()
    model(torch.rand(8, 4) if kind is Rotating else torch.rand(8, 1, 8, 8))
    return model.eval()


# Problem 18: buffers after a meta-device load


def test_buffers_wrong_way_and_right_way(tmp_path, mmap):
    source = trained(Rotating)
    path = saved(source.state_dict(), tmp_path)
    with torch.device("meta"):
        model = Rotating()
    result = model.load_state_dict(torch.load(path), assign=True)  # wrong, and it says
    assert str(result) == "<All keys matched successfully>"
    assert model.angles.is_meta
    with empty_parameters():
        model = Rotating()
    assert all(parameter.is_meta for parameter in model.parameters())
    load_into_meta(model, path, mmap=mmap)
    assert not any(t.is_meta for t in [*model.parameters(), *model.buffers()])
    images = torch.rand(3, 4)
    assert torch.equal(model.eval()(images), source(images))
    assert model.norm.num_batches_tracked == 1


def test_a_copy_without_the_persistent_buffers_runs_and_is_wrong(tmp_path):
    """The loader of well-known tutorials: parameters only."""
    source = trained(Rotating)
    path = saved(source.state_dict(), tmp_path)
    wrong = Rotating().eval()
    parameters = dict(wrong.named_parameters())
    with torch.no_grad():
        for key, value in torch.load(path).items():
            if key in parameters:
                parameters[key].copy_(value)
    images = torch.rand(3, 4)
    assert not torch.equal(wrong(images), source(images))
    with empty_parameters():
        right = Rotating()
    load_into_meta(right, path)
    assert torch.equal(right.eval()(images), source(images))


def test_a_non_persistent_buffer_on_meta_is_refused_by_name(tmp_path):
    path = saved(Rotating().state_dict(), tmp_path)
    with torch.device("meta"):
        model = Rotating()
    with pytest.raises(MismatchedCheckpointError, match=r"'angles' is on the meta device.*empty_p"):
        load_into_meta(model, path)
    assert model.layer.weight.is_meta


def test_without_such_buffers_the_plain_meta_device_will_do(tmp_path, mmap):
    source = trained(DigitsCNN)
    path = saved(source.state_dict(), tmp_path)
    with torch.device("meta"):
        model = DigitsCNN()
    load_into_meta(model, path, mmap=mmap)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(model.eval()(images), source(images))


# Problem 19: assign=True


def test_dtype_wrong_way_and_right_way(tmp_path, mmap):
    path = saved(MLP().double().state_dict(), tmp_path)
    with torch.device("meta"):
        model = MLP()
    model.load_state_dict(torch.load(path), assign=True)
    assert model.head.weight.dtype == torch.float64  # wrong: the file's
    with empty_parameters():
        model = MLP()
    load_into_meta(model, path, mmap=mmap)
    assert model.head.weight.dtype == torch.float32


@pytest.mark.parametrize("left_out", [None, "encoder.weight", "decoder_weight"])
def test_ties_wrong_way_and_right_way(left_out, tmp_path, mmap):
    source = TiedAutoencoder()
    state = source.state_dict()
    with torch.device("meta"):
        model = TiedAutoencoder()
    model.load_state_dict(state, assign=True)
    assert model.decoder_weight is not model.encoder.weight  # wrong: will drift apart
    state.pop(left_out, None)
    with empty_parameters():
        model = TiedAutoencoder()
    load_into_meta(model, saved(state, tmp_path), mmap=mmap)
    assert model.decoder_weight is model.encoder.weight
    assert torch.equal(model.encoder.weight, source.encoder.weight)


def test_an_optimizer_built_before_is_cut_off_and_one_built_after_is_not(tmp_path):
    path = saved(MLP().state_dict(), tmp_path)
    model = MLP()
    early = torch.optim.SGD(model.parameters(), lr=0.1)
    model.load_state_dict(torch.load(path), assign=True)
    late = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    before = model.head.bias.detach().clone()
    early.step()  # wrong: it holds the parameters that assign replaced
    assert torch.equal(model.head.bias, before)
    late.step()
    assert not torch.equal(model.head.bias, before)


def test_parameters_of_integers(tmp_path, mmap):
    def build():
        model = nn.Module()
        model.codes = nn.Parameter(torch.arange(3), requires_grad=False)
        return model

    path = saved(build().state_dict(), tmp_path)
    with empty_parameters():
        model = build()
    load_into_meta(model, path, mmap=mmap)
    assert model.codes.tolist() == [0, 1, 2]


def test_requires_grad_is_the_models(tmp_path, mmap):
    with empty_parameters():
        model = MLP()
        model.features.requires_grad_(False)
    load_into_meta(model, saved(MLP().state_dict(), tmp_path), mmap=mmap)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in model.parameters())


# What does not fit


def test_ties_that_differ_in_the_file_are_refused(tmp_path):
    state = TiedAutoencoder().state_dict()
    state["decoder_weight"] = state["decoder_weight"] + 1
    with empty_parameters():
        model = TiedAutoencoder()
    with pytest.raises(MismatchedCheckpointError, match="are one tensor in the model, but"):
        load_into_meta(model, saved(state, tmp_path))
    assert model.encoder.weight.is_meta


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.bias"), r"missing: head\.bias \(1 in all\)"),
        (lambda state: state.update(extra=torch.ones(1)), r"unexpected: extra"),
        (lambda state: state.update({"head.bias": torch.ones(3)}), r"shape: head\.bias \(3,\) for"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message, tmp_path, mmap):
    state = MLP().state_dict()
    change(state)
    with empty_parameters():
        model = MLP()
    with pytest.raises(MismatchedCheckpointError, match=message):
        load_into_meta(model, saved(state, tmp_path), mmap=mmap)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_model_among_other_things_and_a_prefix(tmp_path, mmap):
    source = nn.DataParallel(MLP())
    optimizer = torch.optim.Adam(source.parameters())
    source(torch.rand(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    state = {"model": source.state_dict(), "optimizer": optimizer.state_dict()}
    with empty_parameters():
        model = MLP()
    load_into_meta(model, saved(state, tmp_path), mmap=mmap)
    assert torch.equal(model.head.bias, source.module.head.bias)
    state["model"]["module.tail.bias"] = torch.ones(1)
    with empty_parameters():
        model = MLP()
    with pytest.raises(MismatchedCheckpointError, match=r"unexpected: model\.module\.tail\.bias"):
        load_into_meta(model, saved(state, tmp_path), mmap=mmap)


def test_changed_bytes_are_found(tmp_path, mmap):
    source = MLP()
    path = saved(source.state_dict(), tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(source.head.bias.detach().numpy().tobytes())] ^= 1
    path.write_bytes(data)
    with empty_parameters():
        model = MLP()
    with pytest.raises(DamagedCheckpointError):
        load_into_meta(model, path, mmap=mmap)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_extra_state(tmp_path, mmap):
    class Counted(MLP):
        calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    source = Counted()
    source.calls = 7
    with empty_parameters():
        model = Counted()
    load_into_meta(model, saved(source.state_dict(), tmp_path), mmap=mmap)
    assert model.calls == 7


def test_building_outside_is_as_before():
    with empty_parameters():
        pass
    assert not MLP().head.weight.is_meta


def test_blocks_that_overlap_in_two_threads_touch_nobody_else():
    """Each begins while the other is at work, and the first to begin is the first to end."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    found = {}

    def first():
        with empty_parameters():
            first_in.set()
            second_in.wait(10)
            found["first"] = nn.Linear(2, 2).weight.is_meta
        first_out.set()
        found["after"] = nn.Linear(2, 2).weight.is_meta

    def second():
        first_in.wait(10)
        with empty_parameters():
            second_in.set()
            first_out.wait(10)
            found["second"] = nn.Linear(2, 2).weight.is_meta

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    first_in.wait(10)
    found["outside"] = nn.Linear(2, 2).weight.is_meta
    for thread in threads:
        thread.join()
    found["at last"] = nn.Linear(2, 2).weight.is_meta
    expected = {"first": True, "second": True, "after": False, "outside": False, "at last": False}
    assert found == expected


def test_blocks_may_be_nested():
    with empty_parameters():
        with empty_parameters():
            assert nn.Linear(2, 2).weight.is_meta
        assert nn.Linear(2, 2).weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta
