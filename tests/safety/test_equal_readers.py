"""What torch's safe loader reads, every reader of ours reads with the same numbers, or refuses.

Refusals are only those of the list in ``docs/other-files.md``.
"""

import pickle
import re
import tempfile
from collections import Counter, OrderedDict
from pathlib import Path

import any_state
import pytest
import readers
import torch
from any_state import flat
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from readers import READERS, assert_same, same
from torch import nn

from course_utils.checkpoint.torch_versions import version
from course_utils.errors import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore")

LIST = (Path(__file__).parents[2] / "docs/other-files.md").read_text()
NUMBERS = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
    torch.complex32, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip
NEWER = [
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
    *([torch.float8_e8m0fnu] if hasattr(torch, "float8_e8m0fnu") else []),  # since 2.7
]  # fmt: skip


def numbers(dtype, *shape):
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    size = torch.empty((), dtype=dtype).element_size()
    data = torch.randint(0, 256, (*shape, size), dtype=torch.uint8, generator=generator)
    if dtype == torch.bool:
        data %= 2
    return data.view(dtype).reshape(shape).clone()


def layouts(dtype):
    x = numbers(dtype, 4, 6)
    return {
        "whole": x, "transposed": x.t(), "rows": x[1:3], "columns": x[:, 2:5], "steps": x[::2, ::3],
        "one": x[2, 3], "none": x[:0], "expanded": x[:1].expand(3, 6), "flat": x.view(-1)[5:],
        "parameter": nn.Parameter(x[0].clone(), requires_grad=False),
        "in": {"a.b": x[3], "c": [x[0], (x[1], {"d": x})]},
    }  # fmt: skip


def states():
    for dtype in [*NUMBERS, *NEWER]:
        yield str(dtype), layouts(dtype)
    z = torch.complex(torch.arange(12.0).view(3, 4), torch.arange(5.0, 17.0).view(3, 4))
    yield "conjugate", {"c": z.conj(), "t": z.t().conj(), "z": z, "i": z.clone().conj().imag}
    yield "module", nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    training = {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    yield "training", training
    yield "values", {
        "t": torch.ones(2), "set": {1, 2}, "bytes": b"\xff\0", "complex": 1j, "none": None,
        "size": torch.Size([2]), "big": 2**70, "list": [1.5, "x", True], "od": OrderedDict(a=1),
        "dtype": torch.int8,
    }  # fmt: skip
    attributed = nn.Parameter(torch.ones(2))
    attributed.note = "kept"
    yield "parameter with an attribute", {"p": attributed}
    yield "bare tensor", torch.arange(3.0)
    yield "list", [torch.arange(3.0), torch.ones(1)]
    yield "sparse", {"t": torch.eye(3).to_sparse(), "u": torch.ones(1)}
    yield "sparse rows", {"t": torch.eye(3).to_sparse_csr()}
    yield "quantized", {"t": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}
    yield "meta", {"t": torch.ones(3, device="meta")}
    yield "jagged", {"t": torch.nested.nested_tensor([torch.ones(2)], layout=torch.strided)}


def listed(reason):
    """Whether a refusal is one of the list in the docs."""
    kinds = set(re.findall(r"`([\w ]+)`", LIST)) | {"quantized"}
    return any(re.search(rf"\b{kind}\b", reason) for kind in kinds)


REFUSED = {
    "sparse", "sparse rows", "quantized", "meta", "jagged", "torch.complex128", "torch.complex32",
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_reader_gives_torchs_numbers(tmp_path, form, reader):
    outcomes = {}
    for number, (kind, state) in enumerate(states()):
        if (form, kind) == ("legacy", "jagged"):  # torch reads its sizes before they are filled
            continue
        path = tmp_path / f"{number}.{form}.pt"
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
        try:
            wanted = dict(flat(torch.load(path, weights_only=True)))
        except (AttributeError, RuntimeError):  # torch itself: newest dtypes
            assert form == "legacy"
            continue
        except pickle.UnpicklingError:  # torch itself, since 2.15
            assert (kind, version() >= (2, 15)) == ("jagged", True)
            continue
        outcomes[kind] = outcome(reader, path, wanted, tmp_path / f"{number}.{form}")
    refused = {kind for kind, error in outcomes.items() if error is not None}
    assert {kind: outcomes[kind] for kind in refused if not listed(outcomes[kind])} == {}
    assert refused <= REFUSED
    assert len(outcomes) - len(refused) >= 18


def outcome(reader, path, wanted, folder):
    """Return why a reader refuses a file; None once its numbers are found to be torch's."""
    folder.mkdir()
    try:
        found = reader(path, wanted, folder)
    except CheckpointError as error:
        return str(error)
    assert_same(found, wanted)
    return None


UNREAD = {"sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "nested tensor"}
# Before 2.10 torch's safe loader is broken: only what the audit calls plain data goes to it.
NOT_PLAIN = {"nested tensor"} if version() < (2, 10) else set()
WITHOUT_PLACE = UNREAD | {"quantized", "meta"}  # in the dense memory of a module
REFUSED_BY = {
    readers.by_read_tensors: UNREAD | {"quantized"},
    readers.by_load_checkpoint: NOT_PLAIN,
    readers.by_load_untrusted: {"nested tensor"},  # nothing checks its offsets
    readers.by_convert: WITHOUT_PLACE | {"complex32", "complex128"},
    readers.by_convert_to_checkpoint: NOT_PLAIN,
    readers.by_partial: WITHOUT_PLACE,
    readers.by_meta: WITHOUT_PLACE,
}


def kind_of(tensor):
    """What the list in the docs calls a tensor."""
    if tensor.is_nested:
        return "nested tensor"
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    return "meta" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")


def test_any_state_is_read_as_torch_reads_it_or_refused_for_a_listed_kind():
    counts = Counter()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(any_state.states(), st.sampled_from(any_state.FORMS))
    def check(state, form):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"state.{form}.pt"
            any_state.save(state, path, form)
            wanted = any_state.as_torch_loads(path)
            kinds = {kind_of(tensor) for tensor in wanted.values()}
            for reader in READERS:
                reason = outcome(reader, path, wanted, Path(folder) / reader.__name__)
                refused = kinds & REFUSED_BY[reader]
                assert (reason is not None) == bool(refused), (reader.__name__, reason, kinds)
                assert reason is None or any(kind in reason for kind in refused), reason
                counts["refused" if refused else "read", reader.__name__] += 1
            event(form)

    check()
    for reader in READERS:
        assert counts["read", reader.__name__] >= 15
    assert counts["refused", "by_convert"] > 0


@pytest.mark.parametrize("dtype", any_state.UNTYPED)
def test_what_torch_misreads_of_the_other_byte_order_is_refused_or_read(tmp_path, dtype):
    wanted = {"w": numbers(dtype, 3), "plain": torch.tensor([1.5])}
    path = tmp_path / "state.zip.pt"
    torch.save(wanted, path)
    any_state.turn_round(path)
    assert not same(torch.load(path)["w"], wanted["w"])  # torch's own fault, seen
    assert same(torch.load(path)["plain"], wanted["plain"])
    for reader in (readers.by_load_checkpoint, readers.by_load_untrusted):
        reason = outcome(reader, path, wanted, tmp_path / reader.__name__)
        assert "tensor w is" in reason
        assert "ckpt convert state.zip.pt NEW.safetensors" in reason
    others = [readers.by_read_tensors, readers.by_partial]
    for reader in others if dtype == torch.complex32 else [*others, readers.by_convert]:
        assert outcome(reader, path, wanted, tmp_path / reader.__name__) is None


def test_the_docs_list_every_kind_that_is_refused():
    for kinds in REFUSED_BY.values():
        assert [kind for kind in kinds if f"`{kind}`" not in LIST] == []
