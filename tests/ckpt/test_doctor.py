"""What the doctor finds, how bad it says that is, and what it leaves alone."""

import warnings
from types import SimpleNamespace

import hostile
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from training import training_state

from course_utils.ckpt.doctor import examine
from course_utils.ckpt.doctor import report as report_on
from course_utils.ckpt.main import main
from course_utils.errors import NotACheckpointError
from course_utils.files.contents import open_contents
from course_utils.formats.verify import Severity


@pytest.fixture
def save(tmp_path):
    def save(state, name="a.pt", **more):
        torch.save(state, tmp_path / name, **more)
        return str(tmp_path / name)

    return save


def problems(path):
    return {c.topic for c in examine(path) if c.severity is not Severity.NOTE}


def notes(path):
    return {c.topic for c in examine(path) if c.severity is Severity.NOTE}


def said(path):
    return " ".join(f"{c.what} {c.remedy}" for c in examine(path))


def role(path):
    return report_on(SimpleNamespace(file=path)).data["role"]


def wrapped():
    return nn.DataParallel(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))).state_dict()


def test_a_healthy_checkpoint_has_no_complaints(save):
    assert examine(save(training_state())) == []


NAN, INF = torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("inf")])
PROBLEMS = {
    "slice": lambda state: state | {"part": torch.zeros(5000)[:3]},
    "prefix": lambda state: state | {"model": wrapped()},
    "live reference": lambda state: state | {"best": dict(state["model"])},
    "not finite": lambda state: state | {"x": NAN},
    "device": lambda state: state | {"x": torch.empty(3, device="meta")},
    "safety": lambda state: state | {"x": nn.ReLU()},
}
NOTES = {
    "stored twice": lambda state: state | {"a": torch.arange(9999), "b": torch.arange(9999)},
    "dtypes": lambda state: state | {"model": {"a": torch.ones(1), "b": torch.ones(1).half()}},
    "not finite": lambda state: state | {"x": INF},
    "not read": lambda state: state | {"x": torch.eye(2).to_sparse()},
}


@pytest.mark.parametrize("topic", PROBLEMS)
def test_each_problem_is_found_and_nothing_else(save, topic):
    path = save(PROBLEMS[topic](training_state()))
    assert (problems(path), notes(path)) == ({topic}, set())


@pytest.mark.parametrize("topic", NOTES)
def test_each_note_is_made_and_is_no_problem(save, topic):
    path = save(NOTES[topic](training_state()))
    assert (problems(path), notes(path)) == (set(), {topic})


def test_the_worst_comes_first(save):
    found = examine(save(training_state() | {"x": INF, "y": NAN}))
    assert [complaint.severity for complaint in found] == [Severity.WARNING, Severity.NOTE]


def test_damage_is_an_error(save):
    path = save(training_state())
    record = open_contents(path).records["data/0"]
    with open(path, "r+b") as file:
        file.seek(record.offset + 1)
        file.write(b"\x55")
    assert examine(path)[0].severity is Severity.ERROR
    assert "damage" in problems(path)


# Prefixes: only what a wrapper added


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.module, self.scale = nn.Linear(2, 2), nn.Parameter(torch.ones(1))


LEFT_ALONE = {
    "a child of that name": lambda: nn.ModuleDict({"a": Own(), "b": nn.Linear(2, 2)}).state_dict(),
    "at the top, with others": lambda: Own().state_dict(),
    "an average": lambda: {"model": nn.Linear(2, 2).state_dict(),
                           "ema": AveragedModel(nn.Linear(2, 2)).state_dict()},
    "an average without its count": lambda: {"model_ema": {"module.w": torch.ones(1)}},
    "DeepSpeed's top level": lambda: {"module": nn.Linear(2, 2).state_dict(), "optimizer": None,
                                      "ds_config": {"zero": 1}, "global_steps": 10},
    "a tensor of that name": lambda: {"module": torch.ones(1), "module.": torch.ones(1)},
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_a_models_own_names_are_no_prefix(save, name):
    assert "prefix" not in problems(save(LEFT_ALONE[name]()))


@pytest.mark.parametrize(
    "keys",
    [
        ["module.a.weight", "module.b"],
        ["_orig_mod.module.a", "_orig_mod.module.b"],
        ["backbone._orig_mod.weight", "head.weight"],
        ["a._fsdp_wrapped_module.w", "b"],
        ["a._checkpoint_wrapped_module.w", "b"],
    ],
)
def test_what_wrappers_add_is_a_prefix(save, keys):
    state = {key: torch.ones(2) for key in keys}
    assert problems(save(state)) == {"prefix"}
    assert "prefix" in problems(save({"model": state, "epoch": 1}, "b.pt"))


def test_a_prefix_of_one_part_is_not_to_be_stripped_from_all(save):
    ema = AveragedModel(nn.Linear(2, 2)).state_dict()
    path = save({"model": wrapped(), "ema": ema})
    assert problems(path) == {"prefix"}
    assert "strip-prefix" not in said(path)
    assert "strip-prefix" in said(save({"model": wrapped(), "ema": {}}))


def test_a_safetensors_file_is_not_sent_to_strip_prefix(tmp_path):
    save_file({"module.w": torch.ones(2)}, tmp_path / "a.safetensors")
    assert problems(tmp_path / "a.safetensors") == {"prefix"}
    assert "strip-prefix" not in said(tmp_path / "a.safetensors")


def test_a_file_without_tensors_has_no_prefix(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    assert problems(tmp_path / "a.safetensors") == set()


# Memory


def test_tied_weights_are_left_tied(save):
    weight = torch.rand(30, 30)
    tied = {"emb.weight": weight, "head.weight": weight, "layer.bias": torch.ones(3)}
    assert problems(save(tied)) == set()
    assert problems(save(training_state() | {"model": tied})) == set()


def test_one_tensor_that_two_models_share_is_no_live_reference(save):
    shared = torch.rand(3, 3)
    state = {
        "generator": {"emb.weight": shared, "w": torch.ones(1)},
        "critic": {"emb.weight": shared, "w": torch.zeros(1)},
    }
    assert "live reference" not in problems(save(state))


def test_the_same_dictionary_twice_is_a_live_reference(save):
    state = nn.Linear(2, 2).state_dict()
    assert problems(save({"model": state, "best": state})) == {"live reference"}


def test_equal_norms_and_moments_are_not_stored_twice(save):
    norms = {f"{i}.weight": torch.ones(60_000) for i in range(3)}
    assert examine(save(norms | {"z": torch.zeros(60_000), "y": torch.zeros(60_000)})) == []


def test_an_equal_checksum_is_not_yet_an_equal_record(save, monkeypatch):
    path = save({"a": torch.arange(9999), "b": torch.arange(9999) + 1})
    contents = open_contents(path)
    contents.records["data/1"] = contents.records["data/1"]._replace(
        crc32=contents.records["data/0"].crc32
    )
    from course_utils.ckpt.doctor_checks import _copies

    assert list(_copies(contents, None)) == []


def test_overlapping_views_waste_nothing(save):
    line = torch.rand(9000)
    views = {"a": line[:6000], "b": line[3000:], "c": line.unfold(0, 100, 1), "d": line[::2]}
    assert examine(save(views)) == []
    assert problems(save({"a": line[:100], "b": line[50:150]})) == {"slice"}
    assert problems(save(dict.fromkeys("abcd", line[:3000]))) == {"slice"}


def test_an_expanded_tensor_is_read_as_it_lies(save):
    huge = torch.tensor([1.0, float("nan")]).view(2, 1).expand(2, 10**12)
    (complaint,) = examine(save({"a": huge}))
    assert "1 NaN" in complaint.what


# Numbers


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128,
     torch.complex64, torch.complex32, torch.float8_e5m2, torch.float8_e4m3fn,
     torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu],
    ids=str,
)  # fmt: skip
def test_every_bit_pattern_counts_as_torch_counts_it(save, dtype):
    from course_utils.ckpt.not_finite import not_finite

    if dtype.itemsize == 1:
        values = torch.arange(256).to(torch.uint8).view(dtype)
    elif dtype.itemsize == 2:
        values = torch.arange(65536).to(torch.uint16).view(dtype)
    else:
        parts = torch.tensor([0.0, -0.0, 1.5, float("nan"), float("inf"), -float("inf"), 1e-40])
        if dtype.is_complex:
            parts = torch.cartesian_prod(parts, parts).flatten()
            parts = torch.view_as_complex(parts.view(-1, 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # complex32 is experimental
            values = parts.to(dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    expected = values.to(wide)
    nan = int(expected.isnan().sum())
    infinite = int((expected.isinf() & ~expected.isnan()).sum())
    assert nan > 0
    contents = open_contents(save({"w": values}))
    assert not_finite(contents, contents.tensors["w"], lambda _: None) == (nan, infinite)


def test_integers_and_codes_are_no_numbers_to_check(save):
    codes = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    state = {"i": torch.arange(3), "q": codes, "b": torch.ones(2, dtype=torch.bool)}
    state["f4"] = torch.full((4,), 255, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    assert problems(save(state)) == set()


def test_only_what_a_tensor_shows_counts(save):
    line = torch.ones(3000)
    line[1::2] = float("nan")
    shown = line[::2]
    assert "not finite" not in problems(save({"w": shown}))
    matrix = torch.ones(40, 40)
    matrix[:, 39] = float("inf")
    assert "not finite" not in notes(save({"w": matrix[:, :39].T}))
    windows = line.as_strided((5, 5), (2, 2))
    assert "not finite" not in problems(save({"w": windows}))


def test_what_overlapping_rows_show_twice_counts_once(save):
    from course_utils.ckpt.not_finite import not_finite

    line = torch.full((40,), float("nan"))
    line[5:20] = float("inf")
    line[::7] = 0.0
    rows = line.as_strided((5, 4), (6, 3), 2)
    places = torch.arange(40).as_strided((5, 4), (6, 3), 2).unique()
    shown = line[places]
    assert len(shown) < rows.numel()
    contents = open_contents(save({"w": rows}))
    expected = (int(shown.isnan().sum()), int(shown.isinf().sum()))
    assert min(expected) > 0
    assert not_finite(contents, contents.tensors["w"], lambda _: None) == expected


def test_big_endian_numbers(save, tmp_path):
    import zipfile

    path = save({"w": torch.tensor([1.0, float("nan"), 2.0], dtype=torch.bfloat16)})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if "/data/" in name:
                data = b"".join(data[i : i + 2][::-1] for i in range(0, len(data), 2))
            new.writestr(name, data)
    contents = open_contents(tmp_path / "b.pt")
    from course_utils.ckpt.not_finite import not_finite

    assert not_finite(contents, contents.tensors["w"], lambda _: None) == (1, 0)


# What a file is for, and what it lacks


def optimizer(**more):
    return torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, **more)


ROLES = {
    "weights": lambda: nn.Linear(2, 2).state_dict(),
    "an optimizer's state": lambda: training_state()["optimizer"],
    "a scheduler's state": lambda: torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer()
    ).state_dict(),
    "a random number generator's state": torch.get_rng_state,
    "states of random number generators": lambda: {
        "cpu": torch.get_rng_state(), "python": (3, tuple(range(625)), None),
    },
    "a training checkpoint": training_state,
    "weights and other values": lambda: {"model": nn.Linear(2, 2).state_dict(), "name": "x"},
    "one tensor": lambda: torch.ones(2),
    "plain values": lambda: {"a": 1},
}  # fmt: skip


@pytest.mark.parametrize("expected", ROLES)
def test_a_file_is_named_for_what_it_is(save, expected):
    path = save(ROLES[expected]())
    assert role(path) == expected
    if expected != "weights and other values":
        assert "resume" not in {complaint.topic for complaint in examine(path)}


@pytest.mark.parametrize(
    "name", ["StepLR", "CosineAnnealingLR", "OneCycleLR", "LambdaLR", "SequentialLR"]
)
def test_schedulers_are_known_by_their_structure(save, name):
    schedulers = torch.optim.lr_scheduler
    needs = {
        "StepLR": (2,),
        "CosineAnnealingLR": (3,),
        "OneCycleLR": (1, 10),
        "LambdaLR": (lambda _: 1,),
        "SequentialLR": ([schedulers.StepLR(optimizer(), 1)], []),
    }
    owner = optimizer(momentum=0.9)
    if name == "SequentialLR":
        needs[name] = ([schedulers.StepLR(owner, 1), schedulers.StepLR(owner, 2)], [1])
    state = getattr(schedulers, name)(owner, *needs[name]).state_dict()
    assert role(save(state)) == "a scheduler's state"


def test_words_of_a_configuration_are_no_parts(save):
    config = {"optimizer": "adam", "scheduler": "cosine", "seed": 1, "epochs": 10, "rng": "x"}
    path = save({"model": nn.Linear(2, 2).state_dict(), "config": config, "seed": None})
    lacks = said(path)
    for part in ("optimizer's state", "scheduler's state", "random number state", "step or epoch"):
        assert f"no {part} is in it" in lacks
    assert problems(path) == set()


def test_an_empty_optimizer_does_not_count(save):
    assert problems(save(training_state() | {"optimizer": {}})) == {"resume"}
    assert "'optimizer' is empty" in said(save(training_state() | {"optimizer": {}}))
    fresh = optimizer().state_dict()  # SGD without momentum has no state of its own
    assert examine(save(training_state() | {"optimizer": fresh})) == []


def test_the_moments_of_a_converted_run_are_an_optimizers_state(save):
    moments = {"0": {"momentum_buffer": torch.ones(2)}, "1": {}}
    state = training_state()
    assert examine(save(state | {"optimizer": moments})) == []
    assert examine(save(state | {"optimizer": {"state": {"w": {"exp_avg": torch.ones(1)}}}})) == []
    for other in ({"0": {"exp_avg": 1.0}}, {"lr": 0.1}, {"a": {"weight": torch.ones(2)}}):
        assert problems(save(state | {"optimizer": other})) == {"resume"}, other


@pytest.mark.parametrize("missing", ["optimizer", "scheduler", "rng", "epoch"])
def test_each_missing_part_is_named(save, missing):
    state = training_state()
    del state[missing]
    (complaint,) = examine(save(state))
    assert complaint.topic == "resume"
    assert complaint.severity is (Severity.WARNING if missing == "optimizer" else Severity.NOTE)


def test_weights_alone_are_fine(save, tmp_path):
    assert examine(save(training_state()["model"])) == []
    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    assert (problems(tmp_path / "a.safetensors"), notes(tmp_path / "a.safetensors")) == (
        set(), {"checksums"},
    )  # fmt: skip


def test_a_lightning_checkpoint_has_its_parts(save):
    state = training_state()
    lightning = {
        "epoch": 1, "global_step": 5, "state_dict": state["model"], "hyper_parameters": {"lr": 1},
        "optimizer_states": [state["optimizer"]], "lr_schedulers": [state["scheduler"]],
        "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {},
    }  # fmt: skip
    (complaint,) = examine(save(lightning))
    assert "no random number state" in complaint.what


def test_a_pickled_module_is_named(save):
    path = save(nn.Linear(2, 2))
    assert role(path) == "a pickled torch.nn.modules.linear.Linear"
    assert problems(path) == {"safety"}


def test_the_mark_of_assign(save):
    model = nn.Linear(2, 2)
    state = nn.Linear(2, 2).state_dict()
    model.load_state_dict(state, assign=True)
    assert problems(save(state)) == {"assign"}
    assert problems(save({"model": state})) == {"assign"}


def test_old_files_are_examined_as_others(save):
    old = save({"module.w": torch.ones(1)}, _use_new_zipfile_serialization=False)
    assert notes(old) == {"checksums"}
    assert problems(old) == {"prefix"}
    assert role(old) == "weights"


def test_another_format_is_not_examined(tmp_path):
    import pickle

    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(NotACheckpointError):
        examine(tmp_path / "a.pkl")


def test_code_is_an_error(tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "x.pt").write_bytes(
        hostile.zip_checkpoint(b"\x80\x02" + hostile.payloads(marker)["reduce"] + b".")
    )
    assert examine(tmp_path / "x.pt")[0].severity is Severity.ERROR
    assert not marker.exists()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_places_and_counts_are_no_weights(save, dtype):
    """As the slices of a dataset of PyTorch Geometric: nothing in them misses an optimizer."""
    path = save({"slices": {"x": torch.zeros(3).to(dtype), "y": torch.zeros(3).to(dtype)}})
    assert (role(path), said(path)) == ("tensors and other values", "")
    codes = save({"model": {"w": torch.zeros(3, dtype=torch.int8), "shape": torch.tensor([3])}})
    assert role(codes) == "weights and other values"


def test_convert_is_named_only_where_it_can_be_done(save, tmp_path):
    odd = SimpleNamespace(a=1)  # needs its global
    remedies = {}
    for name, state in {
        "plain": {"w": torch.ones(2)},
        "two of one name": {"a.b": torch.ones(1), "a": {"b": torch.ones(1)}},
        "quantized": {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
    }.items():
        path = save(state | {"odd": odd}, f"{name}.pt")
        remedies[name] = "ckpt convert" in said(path)
        done = main(["convert", path, str(tmp_path / f"{name}.safetensors")]) == 0
        assert remedies[name] == done, name
    assert remedies == {"plain": True, "two of one name": False, "quantized": False}


def test_the_optimizer_of_fastai_is_one(save):
    """``fastai.learner.save_model`` keeps it under a name that configurations have too."""
    moments = [{"grad_avg": torch.ones(1, 4), "sqr_avg": torch.ones(1, 4), "step": 1}]
    state = {"model": nn.Linear(4, 1).state_dict(), "opt": {"state": moments, "hypers": [{}]}}
    path = save(state)
    assert role(path) == "a training checkpoint"
    assert "no optimizer" not in said(path)
    assert "no optimizer" in said(save(state | {"opt": {"state": "Ohio", "hypers": 3}}))
