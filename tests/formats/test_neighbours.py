"""Other formats are named with what reads them, and their headers shown; they are never damaged."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest
import torch

from course_utils.ckpt.main import main
from course_utils.errors import AnotherFormatError, NotACheckpointError
from course_utils.files.contents import open_contents
from course_utils.formats.neighbour_headers import read_onnx
from course_utils.formats.neighbours import find_neighbour
from course_utils.formats.open import require_tensors
from course_utils.formats.source import Memory
from course_utils.safety.audit import audit


def gguf():
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("scores") + struct.pack("<IIQ", 9, 6, 3) + bytes(12),
        text("general.file_type") + struct.pack("<II", 4, 7),
    ]
    tensors = [
        text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 32, 8, 0),
        text("output_norm.weight") + struct.pack("<IQIQ", 1, 64, 0, 4096),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    return header + b"".join(entries) + b"".join(tensors) + bytes(64)


def field(number, value):
    def varint(n):
        digits = []
        while n > 127:
            digits.append(n & 127 | 128)
            n >>= 7
        return bytes([*digits, n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_file():
    inside = field(1, 300) + field(1, 2) + field(2, 1) + field(8, b"w") + field(9, bytes(2400))
    place = field(1, b"location") + field(2, b"m.onnx.data")
    outside = (
        field(1, b"\x05\x07") + field(2, 16) + field(8, b"v") + field(13, place) + field(14, 1)
    )
    graph = field(2, b"main") + field(5, inside) + field(5, outside)
    return field(1, 10) + field(2, b"pytorch") + field(7, graph) + field(8, field(2, 20))


def npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3, np.float32))
    return file.getvalue()


def npz(path):
    np.savez(path, weight=np.zeros((3, 2), np.float32), names=np.arange(4))


def keras(path):
    with zipfile.ZipFile(path, "w") as file:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            file.writestr(name, "{}")


FILES = {
    "GGUF": gguf(),
    "NumPy array": npy(),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "ExecuTorch": b"\x1c\0\0\0ET12eh00" + bytes(90),
    "TensorFlow checkpoint": bytes(92) + bytes.fromhex("57fb808b247547db"),
    "TensorFlow checkpoints": b'model_checkpoint_path: "ckpt-1"\n',
    "SavedModel": field(1, 1) + field(2, b"meta graph"),
    "ONNX": onnx_file(),
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(90),
    "XGBoost": b'{"learner":{"attributes":{}}}',
    "CatBoost": b"CBM1" + bytes(90),
    "LightGBM": b"tree\nversion=v4\nnum_class=1\n",
    "thinc": b"\x84\xa5nodes\x93\x84\xa5index\x00",
    "Flax": b"\x81\xa6kernel\xc7\x0f\x01\x93\x91\x02\xa7float32\xc4\x00",
    "PaddlePaddle's weights for inference": bytes(16)
    + bytes.fromhex("04000000 08051002") + bytes(8)
    + bytes.fromhex("00000000 00000000 00000000 00000000 06000000 080510031002") + bytes(24),
    "PaddlePaddle": pickle.dumps({"w": 1, "StructuredToParameterName@@": {}}, protocol=4),
    "NumPy archive": npz,
    "Keras": keras,
}  # fmt: skip


@pytest.fixture(params=FILES)
def neighbour(tmp_path, request):
    content = FILES[request.param]
    path = tmp_path / "file.npz"  # the name plays no part, but savez adds it
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    return request.param, path


def test_it_is_named_with_what_reads_it_and_never_called_damaged(neighbour, capsys):
    name, path = neighbour
    with pytest.raises(AnotherFormatError, match=name) as raised:
        open_contents(path)
    assert isinstance(raised.value, NotACheckpointError)
    for command in ("inspect", "verify", "doctor"):
        assert main([command, str(path)]) == 2
        streams = capsys.readouterr()
        text = streams.out + streams.err
        assert name in text
        assert "damaged" not in text
        assert "ead it with " in text
    assert main(["verify", str(path.parent)]) == 0
    if isinstance(FILES[name], bytes):  # archives are judged by what is in them
        assert audit(path).verdict.value in ("not a checkpoint", "plain data")


def shown(path, capsys):
    assert main(["inspect", "--json", str(path)]) == 2
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    return entry["facts"], entry["arrays"]


@pytest.mark.parametrize(
    ("name", "facts", "arrays"),
    [
        (
            "GGUF",
            {"version": "3", "general.architecture": "llama", "general.file_type": "7"},
            [["token_embd.weight", [32, 64], "Q8_0"], ["output_norm.weight", [64], "F32"]],
        ),
        ("NumPy array", {}, [["", [3], "<f4"]]),
        ("NumPy archive", {}, [["weight", [3, 2], "<f4"], ["names", [4], "<i8"]]),
        ("ExecuTorch", {"version": "ET12"}, []),
        (
            "ONNX",
            {"ir_version": "10", "producer": "pytorch", "external data": "m.onnx.data"},
            [["w", [300, 2], "float32"], ["v", [5, 7], "bfloat16"]],
        ),
    ],
)
def test_its_header_is_shown(tmp_path, capsys, name, facts, arrays):
    content, path = FILES[name], tmp_path / "x.npz"
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    assert shown(path, capsys) == (facts, arrays)


@pytest.mark.parametrize("name", ["GGUF", "ONNX"])
def test_a_header_that_is_cut_off_anywhere_is_told_and_raises_nothing_else(name):
    whole = FILES[name]
    for length in range(9, len(whole) - 64, 7):
        find_neighbour(Memory(whole[:length]))
    cut = find_neighbour(Memory(gguf()[:80]))
    assert "not readable here" in cut.header.facts["header"]


def test_numbers_that_promise_too_much_are_refused():
    huge = b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0)
    assert "not readable" in find_neighbour(Memory(huge)).header.facts["header"]
    text = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62)
    assert "not readable" in find_neighbour(Memory(text)).header.facts["header"]


def test_what_onnx_wrote_reads_as_onnx_reads_it(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is in the extra 'export'")
    from onnx import numpy_helper

    arrays = {"a": np.zeros((4, 3), np.float16), "b": np.arange(7)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["c"])], "g", [],
        [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT16, [4, 3])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )  # fmt: skip
    data = onnx.helper.make_model(graph).SerializeToString()
    assert read_onnx(Memory(data)).tensors == [("a", (4, 3), "float16"), ("b", (7,), "int64")]
    assert find_neighbour(Memory(data)).kind == "an ONNX model"


def test_text_and_noise_are_no_neighbours():
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        noise = torch.randint(0, 256, (200,), generator=generator, dtype=torch.uint8)
        assert find_neighbour(Memory(noise.numpy().tobytes())) is None
    for text in (b"import torch\n", b'{"a": 1}', b"\x08", b"0", bytes(100)):
        assert find_neighbour(Memory(text)) is None


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("a TorchServe archive (.mar)", ["MAR-INF/MANIFEST.json", "handler.py", "w.bin"]),
        ("a model of Stable-Baselines3", ["data", "policy.pth", "_stable_baselines3_version"]),
        (
            "an archive of torch.package",
            ["a/.data/extern_modules", "a/.data/0.storage", "a/w/w.pkl", "a/byteorder"],
        ),
        ("a Python wheel", ["pkg-1.dist-info/WHEEL", "pkg-1.dist-info/RECORD"]),
        ("a Keras model (.keras)", ["config.json", "metadata.json", "model.weights.h5"]),
    ],
)
def test_an_archive_is_known_wherever_its_marks_stand(tmp_path, what, names):
    for number, order in enumerate([names, names[::-1]]):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in order:
                archive.writestr(name, "{}")
        with pytest.raises(AnotherFormatError, match=re.escape(what)):
            open_contents(path)
        (finding,) = audit(path).findings
        said, _, more = finding.reason.partition("; ")
        assert said == f"is {what} without data.pkl: torch.save did not write it"
        assert more in ("", "unpack it, policy.pth in it may be a checkpoint")


@pytest.mark.parametrize(
    ("content", "what", "reader"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "LFS", "git lfs"),
        (b"\n<!DOCTYPE html><html><title>404</title></html>", "web page", "browser"),
        (gzip.compress(b"x" * 99, mtime=0), "gzip", "gunzip"),
        (lzma.compress(b"x" * 99), "xz", "xz -d"),
        (bz2.compress(b"x" * 99), "bzip2", "bunzip2"),
    ],
)
def test_what_came_instead_of_the_file_is_named(tmp_path, content, what, reader):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(AnotherFormatError, match=f"{what}.*{reader}"):
        open_contents(tmp_path / "model.safetensors")
    (finding,) = audit(tmp_path / "model.safetensors").findings
    assert what in finding.reason
    assert finding.verdict.value == "not a checkpoint"


def test_a_model_of_xgboost_is_known_in_both_its_spellings():
    binary = b"{L" + (7).to_bytes(8, "big") + b"learner{L"
    assert find_neighbour(Memory(binary)).kind == "a model of XGBoost"
    assert find_neighbour(Memory(binary.replace(b"learner", b"another"))) is None


@pytest.mark.parametrize("content", [b"\x80", b"\x80\x3f" + bytes(9), b"\x80\x06." + bytes(9)])
def test_0x80_without_a_protocol_that_there_is_marks_no_pickle(tmp_path, content):
    """An empty map of MessagePack, as spaCy writes it, and plain numbers may begin with it."""
    with pytest.raises(pickle.UnpicklingError if len(content) == 1 else ValueError):
        pickle.loads(content)
    path = tmp_path / "key2row"
    path.write_bytes(content)
    assert audit(path).verdict.value == "not a checkpoint"
    with pytest.raises(NotACheckpointError, match="is not a checkpoint: it begins with"):
        open_contents(path)


FOLDERS = {
    "a snapshot of torchsnapshot": [".snapshot_metadata", "0/lr"],
    "a checkpoint of Orbax": ["_CHECKPOINT_METADATA", "manifest.ocdbt"],
    "a TensorFlow SavedModel": ["saved_model.pb", "variables/variables.index"],
    "a pipeline of spaCy": ["meta.json", "config.cfg", "vocab/key2row"],
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_another_library_is_named_and_its_files_are_looked_at(tmp_path, capsys, kind):
    folder = tmp_path / "theirs"
    for name in FOLDERS[kind]:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"?")
    torch.save(print, folder / "zz.pt")
    with pytest.raises(AnotherFormatError, match=kind):
        open_contents(folder)
    assert kind in audit(folder).findings[0].reason
    assert main(["verify", str(folder)]) == 2
    assert f"theirs is not a checkpoint of PyTorch but {kind}. Read it" in capsys.readouterr().out
    assert main(["verify", str(tmp_path)]) == 0
    assert f"theirs: not a checkpoint but {kind}" in capsys.readouterr().out
    assert main(["audit", str(tmp_path)]) == 1
    assert "zz.pt: would run code" in capsys.readouterr().out


def test_an_archive_around_a_checkpoint_says_which_record_that_is(tmp_path):
    """As TabNet writes it; torch itself wants every record in a folder."""
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model_params.json", "{}")
        archive.writestr("network.pt", b"PK")
    with pytest.raises(NotACheckpointError, match=r"unpack it, network\.pt in it may be"):
        require_tensors(open_contents(path))
