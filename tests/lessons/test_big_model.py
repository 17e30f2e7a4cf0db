"""The package's way to load holds a model once, the plain way twice: measured on 512 MiB."""

import pytest

from course_utils.lessons import big_model
from course_utils.lessons.measure import peak_memory


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("big") / "big.pt"
    big_model.save(path)
    yield str(path)
    path.unlink()  # pytest keeps the folders of three runs


@pytest.mark.parametrize(
    ("way", "load", "use"),
    [("plain", 2, 2), ("mapped", 2, 2), ("restored", 1, 1), ("meta_assign", 1, 1),
     ("checked", 1, 1), ("meta_mapped_assign", 0, 1)],
)  # fmt: skip
def test_peaks_in_units_of_the_model(way, load, use, path):
    peaks = peak_memory("course_utils.lessons.big_model:load_and_use", way, path)
    assert peaks["load"] / big_model.NBYTES == pytest.approx(load, abs=0.1)
    assert peaks["use"] / big_model.NBYTES == pytest.approx(use, abs=0.1)
