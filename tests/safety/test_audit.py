"""No file that torch would run code from is called plain data; plain data loads as it was."""

import argparse
import contextlib
import datetime
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from course_utils.checkpoint import load_checkpoint
from course_utils.checkpoint.torch_versions import version
from course_utils.errors import (
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import open_contents, verify
from course_utils.formats.judge import Verdict
from course_utils.formats.open import require_tensors
from course_utils.formats.safetensors import read_header
from course_utils.formats.source import Memory
from course_utils.resume.compare import differences
from course_utils.safety import audit, load_untrusted

PAYLOADS = list(hostile.payloads(Path("marker")))
CONTAINERS = {
    "zip": hostile.zip_checkpoint,
    "deflated zip": lambda data: hostile.zip_checkpoint(data, method=zipfile.ZIP_DEFLATED),
    "legacy": hostile.legacy_checkpoint,
    "tar": hostile.tar_checkpoint,
    "pickle": lambda data: data,
}


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.pt"


def run_it(file):
    """Load a file without any protection; what it raises does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for load in (
            lambda: torch.load(file, weights_only=False),
            lambda: pickle.load(file.open("rb")),
        ):
            with contextlib.suppress(Exception):
                load()


def torch_refuses(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.load(file, weights_only=True)
        except Exception:
            return True
    return False


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", PAYLOADS)
def test_every_attack_is_real_and_refused(file, marker, name, container):
    payload = hostile.payloads(marker)[name]
    file.write_bytes(CONTAINERS[container](b"\x80\x02" + payload + b"."))

    found = audit(file)
    assert found.verdict is Verdict.WOULD_RUN_CODE
    assert found.calls
    with pytest.raises(UnsafeCheckpointError, match="would run code"):
        load_untrusted(file)
    assert torch_refuses(file)
    assert not marker.exists()

    run_it(file)
    assert marker.exists(), "the attack does not work, so the test shows nothing"


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_truncated_attack_has_already_run(file, marker, name):
    payload = hostile.payloads(marker)[name]
    file.write_bytes(b"\x80\x02" + payload)  # without STOP
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    assert not marker.exists()
    run_it(file)
    assert marker.exists()


def attack(marker):
    return b"\x80\x02" + hostile.payloads(marker)["reduce"] + b"."


GOOD = b"\x80\x02}" + hostile.text("w") + hostile.tensor() + b"s."


def structures(evil):
    """Zip files that show good data to one reader and an attack to another, by name."""
    good_zip, evil_zip = hostile.zip_checkpoint(GOOD), hostile.zip_checkpoint(evil)
    return {
        "duplicate": hostile.zip_checkpoint(GOOD, extra=[("file/data.pkl", evil)]),
        "duplicate but for case": hostile.zip_checkpoint(GOOD, extra=[("file/DATA.PKL", evil)]),
        "other prefix": hostile.zip_checkpoint(GOOD, extra=[("other/data.pkl", evil)]),
        "two zips": evil_zip + good_zip,
        "zip in the comment": evil_zip[:-2] + struct.pack("<H", len(good_zip)) + good_zip,
        "zip after a pickle": evil + good_zip,
        "zip before a pickle": good_zip + evil,
        "only in capitals": hostile.zip_checkpoint(evil).replace(b"data.pkl", b"DATA.PKL"),
        "a folder in capitals": good_zip.replace(b"file/byteorder", b"FILE/byteorder"),
        "path traversal": hostile.zip_checkpoint(GOOD, extra=[("file/../../x.pkl", evil)]),
        "absolute path": hostile.zip_checkpoint(GOOD, extra=[("/tmp/x.pkl", evil)]),
        "zero in a name": hostile.zip_checkpoint(GOOD, extra=[("file/data.pkl!", evil)]).replace(
            b"data.pkl!", b"data.pkl\0"
        ),
        "local header tells another name": evil_zip.replace(b"file/data.pkl", b"file/data.pk_", 1),
        "another pickle": hostile.zip_checkpoint(GOOD, extra=[("file/more.pkl", evil)]),
        "a checkpoint inside": hostile.zip_checkpoint(GOOD, extra=[("file/in.pt", evil_zip)]),
    }


@pytest.mark.parametrize("name", structures(b""))
def test_files_that_are_two_things_are_never_plain_data(file, marker, name):
    file.write_bytes(structures(attack(marker))[name])
    assert audit(file).verdict in (Verdict.MALFORMED, Verdict.DAMAGED, Verdict.WOULD_RUN_CODE)
    with pytest.raises((UnsupportedCheckpointError, DamagedCheckpointError, UnsafeCheckpointError)):
        load_untrusted(file)
    torch_refuses(file)
    assert not marker.exists()


# What torch may load although we refuse, and why we do.
ONLY_WE_REFUSE = {
    "an expanded bytearray": "a terabyte of zeros, if the machine hands it out",
    "a tensor of terabytes": "as many, uninitialized",
}
NONSENSE = {
    "storage too short": hostile.tensor(count=8, shape=(8,)),
    "storage of terabytes": hostile.tensor(count=2**42, shape=(4,)),
    "negative storage": hostile.tensor(count=-4),
    "offset beyond the storage": hostile.tensor(offset=1),
    "negative offset": hostile.tensor(offset=-1),
    "shape beyond the storage": hostile.tensor(shape=(5,)),
    "stride beyond the storage": hostile.tensor(shape=(2,), stride=(4,)),
    "negative stride": hostile.tensor(stride=(-1,)),
    "shape that overflows": hostile.tensor(shape=(2**40, 2**40), stride=(0, 0)),
    "storage that is not there": hostile.tensor(key="7"),
    "storage of no type": hostile.tensor(kind="Storage"),
    "an expanded bytearray": b"cbuiltins\nbytearray\n" + hostile.number(2**40) + b"\x85R",
    "a tensor of terabytes": b"ctorch\nFloatTensor\n" + hostile.number(2**42) + b"\x85R",
    "a persistent id of another kind": hostile.text("module") + b"\x85Q",
}

OLD_TORCH_LOADS = {*ONLY_WE_REFUSE, "storage too short", "storage of terabytes"}  # CVE-2026-24747


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_malformed(file, name):
    file.write_bytes(hostile.zip_checkpoint(b"\x80\x02" + NONSENSE[name] + b"."))
    found = audit(file)  # a record that is too short is missing bytes; else all have their checksum
    missing = found.verdict is Verdict.DAMAGED
    assert missing == ("does not have there" in found.findings[0].reason)
    assert missing or found.verdict is Verdict.MALFORMED
    with pytest.raises(DamagedCheckpointError if missing else UnsupportedCheckpointError):
        load_untrusted(file)
    if name not in (ONLY_WE_REFUSE if version() >= (2, 10) else OLD_TORCH_LOADS):
        assert torch_refuses(file)


def save_all(folder, value, name="value"):
    """Save a value in every format, and yield the files."""
    for suffix, options in (("pt", {}), ("old.pt", {"_use_new_zipfile_serialization": False})):
        torch.save(value, folder / f"{name}.{suffix}", **options)
        yield folder / f"{name}.{suffix}"


def training_state():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(5, 4)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


PLAIN = {
    "training state": training_state(),
    "dtypes": {
        str(dtype): torch.ones(3, dtype=torch.uint8).to(dtype)
        for dtype in (torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
    },
    "views": [torch.arange(12)[3:], torch.arange(12).view(3, 4).T, torch.ones(1).expand(5)],
    "empty": torch.empty(0, 3),
    "containers": {"a": (1, 2.5, None, True), "b": {"c": "d"}, 3: {4, 5}, "big": 2**80},
    "bytes": {"a": b"abc", "b": bytearray(b"abc"), "c": 1 + 2j},
    "torch's own": [torch.Size([2]), torch.device("cpu"), torch.float16, torch.strided],
    "counter": Counter("abca"),
    "parameter": nn.Parameter(torch.ones(2)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_is_called_so_and_loads_as_torch_loads_it(tmp_path, name):
    for path in save_all(tmp_path, PLAIN[name]):
        assert audit(path).verdict is Verdict.PLAIN_DATA
        assert audit(path).findings == ()
        assert not differences(load_untrusted(path), torch.load(path, weights_only=True))


@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_sparse_tensors_are_plain_data(tmp_path):
    for path in save_all(tmp_path, torch.eye(3).to_sparse()):
        assert audit(path).verdict is Verdict.PLAIN_DATA
        assert torch.equal(load_untrusted(path).to_dense(), torch.eye(3))


NEEDS = {
    "a whole model": nn.Linear(2, 2),
    "a numpy array": np.ones(3),
    "a numpy number": np.float64(0.5),
    "a path": Path("x"),
    "a namespace": argparse.Namespace(lr=0.1),
    "a date": datetime.date(2026, 1, 1),
    "a defaultdict": defaultdict(list, a=[1]),
    "a class of one's own": Verdict,
    "an ellipsis": {"index": (..., 0)},
    "a parameter without a shape": nn.LazyLinear(2).state_dict(),
    "a generator": torch.Generator(),
}


@pytest.mark.parametrize("name", NEEDS)
def test_what_needs_more_names_it(tmp_path, name):
    for path in save_all(tmp_path, NEEDS[name]):
        found = audit(path)
        assert found.verdict is Verdict.NEEDS_GLOBALS
        assert found.imports
        assert torch_refuses(path)
        with pytest.raises(UnsafeCheckpointError, match="needs these globals"):
            load_untrusted(path)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_plain_data_and_of_tensors(file, protocol):
    file.write_bytes(pickle.dumps({"a": [1, "b", None], "c": (2.5, {3})}, protocol=protocol))
    assert audit(file).verdict is Verdict.PLAIN_DATA
    assert audit(file).format == "pickle"
    with pytest.raises(NotACheckpointError, match="plain data, but a pickle"):
        load_untrusted(file)
    file.write_bytes(pickle.dumps(torch.ones(2), protocol=protocol))  # holds a file of its own
    assert audit(file).verdict is Verdict.NEEDS_GLOBALS
    assert "torch.storage._load_from_bytes" in audit(file).imports


@pytest.mark.parametrize("protocol", range(6))
def test_tensors_of_all_kinds_in_a_plain_pickle_are_no_damage(file, protocol):
    values = {
        "module": nn.Sequential(*(nn.Linear(2, 2) for _ in range(4))),
        "optimizer": torch.optim.Adam([nn.Parameter(torch.ones(2))]),
        "parameter": nn.Parameter(torch.ones(2)),
        "buffer": nn.Buffer(torch.ones(2)),
        "sparse": torch.eye(2).to_sparse(),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
        "new dtype": torch.ones(2, dtype=torch.uint16),
        "shaped by numpy": torch.from_numpy(np.ones(2)),
    }
    for value in (*values.values(), values):
        file.write_bytes(pickle.dumps(value, protocol=protocol))
        found = audit(file)
        assert found.verdict is Verdict.NEEDS_GLOBALS, found
        assert {f.verdict for f in found.findings} == {Verdict.NEEDS_GLOBALS}


class InAFile:
    """What plain pickle makes of a storage, with any pickle in its place."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.content,)


@pytest.mark.parametrize("place", range(8))
def test_code_in_any_of_the_files_inside_is_found(file, marker, place):
    contents = [hostile.legacy_checkpoint(pickle.dumps(n, 2)) for n in range(8)]
    contents[place] = hostile.legacy_checkpoint(
        b"\x80\x02" + hostile.payloads(marker)["eval"] + b"."
    )
    file.write_bytes(pickle.dumps([InAFile(content) for content in contents]))
    found = audit(file)
    assert found.verdict is Verdict.WOULD_RUN_CODE
    assert "builtins.eval" in found.imports
    run_it(file)
    assert marker.exists()


def test_a_file_inside_that_is_loaded_again_and_again_is_not_read_so(file):
    inner = hostile.legacy_checkpoint(pickle.dumps(list(range(10_000)), 2))
    again = b"h\x01h\x00\x85R0"
    file.write_bytes(
        b"\x80\x03ctorch.storage\n_load_from_bytes\nq\x01B"
        + struct.pack("<I", len(inner)) + inner + b"q\x00" + again * 10_000 + b"."
    )  # fmt: skip
    found = audit(file)
    assert found.verdict is Verdict.NEEDS_GLOBALS
    assert any("again and again" in finding.reason for finding in found.findings)


def test_safetensors_files(tmp_path):
    path = tmp_path / "model.safetensors"
    state = {"w": torch.arange(4.0), "b": torch.ones(2, 3, dtype=torch.bfloat16)}
    save_file(state, path, metadata={"format": "pt"})
    assert (audit(path).verdict, audit(path).format) == (Verdict.PLAIN_DATA, "safetensors file")
    assert not differences(load_untrusted(path), state)
    data = path.read_bytes()
    for bad in (data[:-1], data + b"x", data.replace(b"[4]", b"[9]")):
        path.write_bytes(bad)
        assert audit(path).verdict is Verdict.DAMAGED
        with pytest.raises(DamagedCheckpointError):
            load_untrusted(path)
    path.write_bytes(data.replace(b'"w"', b'"b"'))
    assert audit(path).verdict is Verdict.MALFORMED
    for load in (load_untrusted, load_checkpoint):
        with pytest.raises(UnsupportedCheckpointError, match="twice"):
            load(path)


def test_a_file_that_is_safetensors_and_pickle_at_once(file, marker):
    # To pickle, the header's length is 'X' and the length of a string. Then 'U' and one byte of
    # length, again and again, make strings of the rest of the header, up to the tensor's bytes.
    program = hostile.payloads(marker)["reduce"] + b"."
    jump = next(n for n in range(25, 200) if (91 + 255 * n) % 103 == 0)
    entry = f'"}},"w":{{"dtype":"U8","shape":[{len(program)}],"data_offsets":[0,{len(program)}]}}}}'
    begin = b'{"__metadata__":{"a":"'.ljust(jump - 3)
    hops = (91 + 255 * jump) // 103
    rest = (b"Ue" + b" " * 101) * (hops - 1) + b"Ue" + entry.encode().rjust(101)
    data = (ord("X") + 256 * jump).to_bytes(8, "little") + begin + rest + program
    assert list(read_header(Memory(data)).tensors) == ["w"]
    file.write_bytes(data)
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    assert not marker.exists()
    run_it(file)
    assert marker.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_a_program(file):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    assert "TorchScript" in audit(file).format
    with pytest.raises(UnsafeCheckpointError, match="TorchScript program"):
        load_untrusted(file)
    assert torch_refuses(file)


# The graph of a program, a sample input and weights; torch before 2.7 had other names for them.
GRAPHS = ("model.json", "serialized_exported_program.json")
SAMPLE_AND_WEIGHTS = [
    ("sample_inputs/model.pt", "serialized_example_inputs.pt"),
    ("data/weights/weight_0", "serialized_state_dict.pt"),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    class Reshapes(nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0] * 2, -1).sum() + self.w

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

    path = tmp_path_factory.mktemp("exported") / "program.pt2"
    shapes = {"x": {0: torch.export.Dim("batch", min=2, max=9)}}
    torch.export.save(
        torch.export.export(Reshapes(), (torch.ones(4, 6),), dynamic_shapes=shapes), path
    )
    return path


def rewritten(path, target, change):
    """Copy a zip file with its records changed by a function of name and content."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for entry in source.infolist():
            copy.writestr(entry.filename, change(entry.filename, source.read(entry)))
    return target


def test_an_exported_program_calls_operators_only(exported):
    found = audit(exported)
    assert (found.verdict, found.format) == (Verdict.NEEDS_GLOBALS, "exported program")
    assert len(found.findings) == 1


def test_what_aotinductor_compiled_is_named_with_what_opens_it(tmp_path):
    """``torch.export.load`` only says that it ran into an error."""
    path = tmp_path / "aoti.pt2"
    with zipfile.ZipFile(path, "w") as archive:  # its records by their names in torch 2.14
        archive.writestr("aoti/data/aotinductor/model/c.wrapper.so", b"machine code")
        archive.writestr("aoti/archive_format", "pt2")
        archive.writestr("aoti/archive_version", "0")
    found = audit(path)
    assert (found.verdict, found.format) == (Verdict.WOULD_RUN_CODE, "compiled program")
    with pytest.raises(UnsupportedCheckpointError, match=r"torch\._inductor\.aoti_load_package"):
        require_tensors(open_contents(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"torch.ops.aten.reshape.default", b"torch.os.system"),
        (b"torch.ops.aten.reshape.default", b"torch.ops.os.system.__globals__"),
        (b"torch.ops.aten.reshape.default", b"torch.ops.aten.from_file.default"),
        (b"torch.ops.aten.reshape.default", b"torch.ops.aten.save.default"),
        (b"torch.ops.aten.reshape.default", b"torch.ops.debugprims.load_tensor.default"),
        (b"_operator.mul", b"_operator.methodcaller"),
        (b"_operator.mul", b"_operator.__builtins__"),
        (b"Symbol('s", b"exec('s"),
        (b"Integer(2)", b"eval(chr(49))"),
        (b"Integer(2)", b"(1).__class__"),
        (b'"guards_code": []', b'"guards_code": ["1"]'),
    ],
)
def test_an_exported_program_that_reaches_out(exported, file, old, new):
    def change(name, content):
        if name.endswith(GRAPHS):
            if b"guards" in old and version() < (2, 7):  # which had no guards to evaluate
                content = content.replace(b'"schema_version"', old + b', "schema_version"')
            assert old in content
            return content.replace(old, new)
        return content

    assert audit(rewritten(exported, file, change)).verdict is Verdict.WOULD_RUN_CODE


def test_the_evaluated_size_is_a_real_attack(exported, file, marker):
    code = f"__import__('pathlib').Path('{marker}').touch()".encode()
    rewritten(
        exported,
        file,
        lambda name, content: (
            content.replace(b"Integer(2)", code) if name.endswith(GRAPHS) else content
        ),
    )
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    assert not marker.exists()
    with contextlib.suppress(Exception):
        torch.export.load(file)
    assert marker.exists()


def test_an_operator_that_opens_files_is_a_real_attack(exported, file, marker):
    def change(name, content):
        if not name.endswith(GRAPHS):
            return content
        program = json.loads(content)
        last = program["graph_module"]["graph"]["nodes"][-1]
        last["target"] = "torch.ops.aten.from_file.default"
        arguments = {"filename": ("as_string", str(marker)), "shared": ("as_bool", True)}
        arguments["size"] = ("as_int", 1)
        last["inputs"] = [
            {"name": name, "arg": {kind: value}, **({"kind": 1} if version() >= (2, 7) else {})}
            for name, (kind, value) in arguments.items()
        ]
        return json.dumps(program).encode()

    rewritten(exported, file, change)
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    loaded = torch.export.load(file).module()
    assert not marker.exists()
    loaded(torch.ones(4, 6))
    assert marker.exists()


def in_a_container(context, kind):
    """Return an edit of a program: its first input becomes a container with this context."""

    def edit(name, content):
        if not name.endswith(GRAPHS):
            return content
        program = json.loads(content)
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        spec = json.loads(signature["in_spec"])
        arguments = spec[1]["children_spec"][0]["children_spec"]
        arguments[0] = {"type": kind, "context": context, "children_spec": [arguments[0]]}
        signature["in_spec"] = json.dumps(spec)
        return json.dumps(program).encode()

    return edit


@pytest.mark.parametrize(
    ("kind", "context", "verdict"),
    [
        (
            "builtins.list",
            json.dumps({"__enum__": True, "fqn": "touches:X", "name": "Y"}),
            Verdict.WOULD_RUN_CODE,
        ),
        (
            "collections.defaultdict",
            {"default_factory_module": "touches", "default_factory_name": "x", "dict_context": [0]},
            Verdict.WOULD_RUN_CODE,
        ),
        (
            "collections.defaultdict",
            {"default_factory_module": "builtins", "default_factory_name": "list"},
            Verdict.NEEDS_GLOBALS,
        ),
    ],
)
def test_a_container_that_names_a_module_is_a_real_attack(
    exported, file, marker, monkeypatch, kind, context, verdict
):
    (file.parent / "touches.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.delitem(sys.modules, "touches", raising=False)
    rewritten(exported, file, in_a_container(context, kind))
    assert audit(file).verdict is verdict
    assert not marker.exists()
    with contextlib.suppress(Exception):
        torch.export.load(file)
    runs = verdict is Verdict.WOULD_RUN_CODE
    if kind == "builtins.list" and version() < (2, 7):  # which knew no enumerations yet
        runs = False
    assert marker.exists() == runs


@pytest.mark.parametrize("record", SAMPLE_AND_WEIGHTS)
def test_pickles_in_an_exported_program_are_judged(exported, file, marker, record):
    evil = hostile.zip_checkpoint(attack(marker))
    rewritten(exported, file, lambda name, content: evil if name.endswith(record) else content)
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE


def test_a_native_library_in_a_program(exported, file):
    rewritten(exported, file, lambda name, content: content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("program/data/aotinductor/model/x.so", b"\x7fELF")
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE


def test_tar_tricks(file):
    whole = hostile.tar_checkpoint(pickle.dumps(1, 2))
    file.write_bytes(whole)
    assert audit(file).verdict is Verdict.PLAIN_DATA
    with pytest.raises(UnsupportedCheckpointError, match="ckpt convert"):
        load_untrusted(file)  # weights_only does not read them either
    assert torch_refuses(file)
    buffer = io.BytesIO(whole)
    with tarfile.open(fileobj=buffer, mode="a:") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    file.write_bytes(buffer.getvalue())
    assert audit(file).verdict is Verdict.DAMAGED


def test_a_payload_between_the_storages_of_a_tar_is_found(file, marker):
    entry = b"\x80\x02" + hostile.text("0") + hostile.text("cpu") + b"ctorch\nFloatStorage\n\x87."
    numbers = (2).to_bytes(8, "little") + bytes(8)
    evil = pickle.dumps(1, 2) + entry + numbers + attack(marker)
    file.write_bytes(hostile.tar_checkpoint(pickle.dumps(1, 2), storages=evil))
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    assert not marker.exists()
    run_it(file)
    assert marker.exists()


CHANGES = {
    "attributes of a class": b"ctorch\nTensor\n}" + hostile.text("x") + b"K\1sb",
    "the system's settings": b"cos\nenviron\n" + hostile.text("x") + hostile.text("y") + b"s",
    "where modules are sought": b"csys\npath\n(" + hostile.text("/tmp/evil") + b"e",
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_an_imported_thing_would_run_code(file, name):
    for wrap in (bytes, hostile.zip_checkpoint, hostile.legacy_checkpoint):
        file.write_bytes(wrap(b"\x80\x02" + CHANGES[name] + b"."))
        found = audit(file)
        assert found.verdict is Verdict.WOULD_RUN_CODE
        assert any(finding.reason.startswith("changes ") for finding in found.findings)
        with pytest.raises(UnsafeCheckpointError):
            load_untrusted(file)


def test_the_pickle_after_the_thousandth_is_read(file, marker):
    file.write_bytes(pickle.dumps(1, 2) * 1000 + attack(marker))
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE
    file.write_bytes(pickle.dumps(1, 2) * 100_001 + attack(marker))
    found = audit(file)
    assert found.verdict is Verdict.NOT_A_CHECKPOINT
    assert "the rest is not read, and may run code" in found.findings[0].reason


def zipped(*names, content=b"x", method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


def encrypted(data):
    """Set the flag of encryption in all headers."""
    changed = bytearray(data)
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        changed[changed.index(signature) + flags] |= 1
    return bytes(changed)


OTHER_ZIPS = {
    "NumPy archive": zipped("a.npy", "b.npy"),
    "NumPy archive (.npz)": zipped("m/a.npy", "m/b.npy", content=b"\x93NUMPY" + attack("nothing")),
    "Python wheel": zipped("p/a.py", "p-1.dist-info/WHEEL"),
    "Keras model": zipped("metadata.json", "config.json", "model.weights.h5"),
    "TorchServe archive": zipped("MAR-INF/MANIFEST.json", "handler.py", "model.pt"),
    "a zip file": zipped("m/handler.py", "m/lib.so"),
    "torch.save that failed": zipped("m/.format_version", "m/byteorder", "m/version"),
    "method 12": zipped("m/data.dat", content=attack("nothing"), method=zipfile.ZIP_BZIP2),
    "method 14": zipped("m/data.pkl", content=attack("nothing"), method=zipfile.ZIP_LZMA),
    "encrypted": encrypted(zipped("m/data.pkl", content=attack("nothing"))),
}


@pytest.mark.parametrize("words", OTHER_ZIPS)
def test_other_zip_files_are_no_checkpoints(file, words):
    file.write_bytes(OTHER_ZIPS[words])
    found = audit(file)
    assert found.verdict is Verdict.NOT_A_CHECKPOINT
    assert words in found.findings[0].reason
    with pytest.raises(NotACheckpointError, match=file.name):
        load_untrusted(file)
    with pytest.raises(NotACheckpointError, match=file.name):
        load_checkpoint(file)


@pytest.mark.parametrize("change", [(8, 1), (10, 12), (6, 99)], ids=["flags", "method", "version"])
def test_a_record_that_nobody_reads_hides_no_code_in_another(file, marker, change):
    data = bytearray(hostile.zip_checkpoint(attack(marker)))
    offset, value = change
    name = data.rindex(b"file/data/0")
    data[data.rindex(b"PK\1\2", 0, name) + offset] = value
    file.write_bytes(data)
    found = audit(file)
    assert found.verdict is Verdict.DAMAGED
    assert "torch would read file/data.pkl" in found.findings[0].reason
    for load in (load_untrusted, load_checkpoint):
        with pytest.raises(DamagedCheckpointError):
            load(file)
    assert not marker.exists()
    run_it(file)
    assert marker.exists()


def test_code_in_another_zip_file_is_found(file, marker):
    file.write_bytes(zipped("m/data.dat", content=attack(marker)))
    assert audit(file).verdict is Verdict.WOULD_RUN_CODE


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"", Verdict.NOT_A_CHECKPOINT),
        (b"epoch 3, loss 0.2\n", Verdict.NOT_A_CHECKPOINT),
        (b"Nothing here is a pickle.", Verdict.NOT_A_CHECKPOINT),
        (bytes(1000), Verdict.NOT_A_CHECKPOINT),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), Verdict.NOT_A_CHECKPOINT),
        (b"\x80\x02}q", Verdict.MALFORMED),
        (b"PK\3\4" + bytes(100), Verdict.DAMAGED),
    ],
)
def test_what_is_no_checkpoint(file, data, verdict):
    file.write_bytes(data)
    assert audit(file).verdict is verdict
    kinds = (NotACheckpointError, DamagedCheckpointError, UnsupportedCheckpointError)
    with pytest.raises(kinds, match=file.name):
        load_untrusted(file)


def test_folders_pipes_and_files_that_are_not_there(tmp_path):
    assert audit(tmp_path).verdict is Verdict.NOT_A_CHECKPOINT
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert audit(tmp_path / "pipe").verdict is Verdict.NOT_A_CHECKPOINT
    with pytest.raises(MissingCheckpointError):
        audit(tmp_path / "nothing.pt")


def test_a_flipped_byte_in_a_tensor_is_damage(file):
    torch.save({"w": torch.arange(100)}, file)
    data = bytearray(file.read_bytes())
    data[data.index(struct.pack("<qq", 50, 51))] ^= 1
    file.write_bytes(data)
    assert torch.load(file)["w"].sum() != 4950  # torch notices nothing
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        load_untrusted(file)


def test_what_hides_in_attributes_is_dropped(file):
    tensor, table = torch.ones(2), OrderedDict(a=1)
    tensor.note, table.note = "hidden", "hidden"
    table._metadata = {"": {"version": 2}}
    torch.save([tensor, table, tensor], file)
    first, second, third = load_untrusted(file)
    assert first is third
    assert not hasattr(first, "note")
    assert vars(second) == {"_metadata": {"": {"version": 2}}}


def test_the_limit_is_kept(file):
    torch.save(torch.ones(1000), file)
    with pytest.raises(UnsafeCheckpointError, match="limit of 4,000 bytes"):
        load_untrusted(file, limit=4000)


def test_the_report_is_readable_and_hostile_text_stays_text(file, marker):
    evil = b"\x80\x02c<script>\nalert\n)R."
    file.write_bytes(hostile.zip_checkpoint(evil))
    found = audit(file)
    assert "calls <script>.alert()" in str(found)
    assert "<script>" not in found._repr_html_()
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == "would run code"


BOMBS = {
    "a deflated pickle": hostile.zip_checkpoint(
        b"\x80\x02" + bytes(80 * 2**20), method=zipfile.ZIP_DEFLATED
    ),
    "a deflated record": hostile.zip_checkpoint(
        GOOD, extra=[("file/data/1", bytes(80 * 2**20))], method=zipfile.ZIP_DEFLATED
    ),
    "a long that says it has 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f",
    "bytes that say they are 2**63": b"\x80\x05\x8e" + b"\xff" * 7 + b"\x7f",
    "lists in lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "calls in calls": b"\x80\x02cx\ny\n" + b")R" * 20_000 + b".",
    "many findings": b"\x80\x02" + b"cx\ny\n)R0" * 10_000 + b"N.",
    "a memo that grows": b"\x80\x02]" + b"".join(
        b"r" + struct.pack("<I", n * 2**16) for n in range(10_000)
    ) + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_little_memory(file, name):
    file.write_bytes(BOMBS[name])
    tracemalloc.start(1)
    try:
        assert audit(file)
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [128, 384, 640, 0x0580])
def test_a_safetensors_header_whose_length_begins_as_a_pickle_does(tmp_path, length):
    header = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    data = length.to_bytes(8, "little") + header.ljust(length) + b"\x07"
    file = tmp_path / "m.safetensors"
    file.write_bytes(data)
    assert data[0] == 0x80
    assert load_file(file)["x"] == 7
    assert audit(file).verdict is Verdict.PLAIN_DATA
    assert audit(file).format == "safetensors file"
    assert load_untrusted(file)["x"] == 7


def test_what_a_second_load_from_an_open_file_reads_is_looked_at(tmp_path):
    path, marker = tmp_path / "two.pt", tmp_path / "marker"
    for payload, verdict in (
        (None, "plain data"),
        (hostile.payloads(marker)["reduce"], "would run code"),
    ):
        with open(path, "wb") as file:
            for number in range(5):  # more than files may lie in each other
                torch.save({"w": torch.ones(number)}, file, _use_new_zipfile_serialization=False)
            if payload:
                file.write(hostile.legacy_checkpoint(b"\x80\x02" + payload + b"."))
        with open(path, "rb") as file:
            assert [len(torch.load(file)["w"]) for _ in range(5)] == [0, 1, 2, 3, 4]
        found = audit(path)
        assert found.verdict.value == verdict
        assert [f.where for f in found.findings][-1] == "after its end"
        assert "called again on the open file" in found.findings[-1].reason
    assert not marker.exists()


def test_bytes_after_an_old_file_are_mentioned(tmp_path):
    path = tmp_path / "old.pt"
    with open(path, "wb") as file:
        torch.save({"w": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
        file.write(b"some other bytes")
    assert audit(path).verdict.value == "plain data"
    assert "called again" in audit(path).findings[0].reason
    assert any("16 bytes follow" in finding.problem for finding in verify(path).findings)
