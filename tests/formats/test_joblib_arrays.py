"""Pickles by joblib are read to their end: their numbers are neither instructions nor damage."""

import joblib
import ml_dtypes
import numpy as np
import pytest

from course_utils.formats.judge import Verdict
from course_utils.safety import audit

ARRAYS = {
    "floats": np.arange(6.0).reshape(2, 3),
    "one number": np.array(3.0, np.float16),
    "none": np.zeros((0, 3)),
    "big-endian": np.arange(4, dtype=">i4"),
    "complex": np.ones(3, np.complex64),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"cposix\nsystem\n"]),
    "dates": np.array(["2026-01-01"], "M8[D]"),
    "columns": np.zeros(3, [("a", "f4", (2,)), ("b", "U3"), ("c", [("d", "i8")])]),
    "objects": np.array([1, "a", None], dtype=object),
    "columns of objects": np.zeros(3, [("a", "f4"), ("b", "O")]),
    "many": np.zeros(300_000),
    "bfloat16": np.ones(5, ml_dtypes.bfloat16),
    "float8": np.ones(5, ml_dtypes.float8_e4m3fn),
    "int4": np.ones(5, ml_dtypes.int4),
}


class Runs:
    def __reduce__(self):
        return eval, ("print(1)",)


def verdict_of(path, value, protocol):
    joblib.dump(value, path, protocol=protocol)
    return audit(path).verdict


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("name", ARRAYS)
def test_a_sound_file_is_not_called_damaged(tmp_path, name, protocol):
    path = tmp_path / "x.joblib"
    verdict = verdict_of(path, {"before": 1, "a": ARRAYS[name], "b": [np.ones(2)]}, protocol)
    assert verdict in (Verdict.NEEDS_GLOBALS, Verdict.WOULD_RUN_CODE)
    if "objects" not in name:  # of these another unpickler would make something else
        assert verdict is Verdict.NEEDS_GLOBALS
    assert "joblib.numpy_pickle.NumpyArrayWrapper" in audit(path).imports


@pytest.mark.parametrize("name", ARRAYS)
def test_code_after_an_array_and_in_one_is_found(tmp_path, name):
    path = tmp_path / "x.joblib"
    assert verdict_of(path, [ARRAYS[name], Runs()], 4) is Verdict.WOULD_RUN_CODE
    assert "builtins.eval" in audit(path).imports
    assert verdict_of(path, [np.array([Runs()], dtype=object)], 4) is Verdict.WOULD_RUN_CODE
    assert "builtins.eval" in audit(path).imports


def test_code_for_another_unpickler_is_found_in_the_numbers(tmp_path):
    path = tmp_path / "x.joblib"
    joblib.dump(np.zeros(64, np.uint8), path)
    data = path.read_bytes()
    place = len(data.rstrip(b".").rstrip(b"\0").rstrip(b"\xff")) - 1  # the length of the padding
    program = b"cposix\nsystem\nU\x01:\x85R."
    path.write_bytes(data[:place] + program + data[place + len(program) :])
    found = audit(path)
    assert found.verdict is Verdict.WOULD_RUN_CODE
    assert "posix.system" in found.imports


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_is_cut_off_is_no_plain_data_wherever_it_ends(tmp_path, protocol):
    path = tmp_path / "x.joblib"
    joblib.dump({"a": ARRAYS["floats"], "b": ARRAYS["columns"]}, path, protocol=protocol)
    data = path.read_bytes()
    for end in range(1, len(data)):
        path.write_bytes(data[:end])
        assert audit(path).verdict in (Verdict.MALFORMED, Verdict.NOT_A_CHECKPOINT), end
