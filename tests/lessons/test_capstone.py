"""The judge of the capstone: what the fragile script, the solution and its mistakes break."""

from pathlib import Path

import pytest

from course_utils.lessons import fragile
from course_utils.lessons.capstone import PROPERTIES, begin, examine

ANSWERS = Path(__file__).with_name("capstone")
SOLUTION, BY_HAND = ANSWERS / "solution.py", ANSWERS / "by_hand.py"


def broken(script, folder):
    return [finding.name for finding in examine(script, folder).findings if not finding.holds]


def variant(tmp_path, *changes, of=SOLUTION):
    """A right answer with each (old, new) of its text replaced."""
    text = of.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "train.py").write_text(text)
    return tmp_path / "train.py"


@pytest.mark.torture
def test_the_fragile_script_breaks_all_four(tmp_path):
    assert broken(Path(fragile.__file__), tmp_path / "runs") == [*PROPERTIES]


def test_the_solution_breaks_none(tmp_path):
    verdict = examine(SOLUTION, tmp_path / "runs")
    assert [f.name for f in verdict.findings if f.holds] == [*PROPERTIES], verdict


@pytest.mark.torture
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            [
                ("    saved = newest(folder)\n", "    saved = newest(folder)\n"
                 "    begin, saved = (saved or {}).get('step', 0), None\n"),
                ('print("step", step, loss', 'step > begin and print("step", step, loss'),
            ],
            "it trains again from the beginning",
        ),
        ([('print("step", step, loss.item()', 'print("step", step, 0.5')], "the old losses"),
        ([("    saved = newest(folder)\n", "    saved = None\n")], "it goes on at step 1"),
    ],
    ids=["replays", "makes losses up", "never goes on"],
)  # fmt: skip
def test_a_script_that_only_seems_to_go_on_is_found_out(tmp_path, changes, words):
    script = variant(tmp_path, *changes, of=BY_HAND)
    exact, *others = examine(script, tmp_path / "runs").findings
    assert not exact.holds
    assert words in exact.seen
    assert words == "it goes on at step 1" or all(finding.holds for finding in others)


@pytest.mark.torture
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("scheduler=scheduler, ", "")], ["exact"]),
        ([("sampler.advance(len(batch))", "pass")], ["exact"]),
        ([("model.eval(), (images", "model.train(), (images")], ["portable"]),
        ([(", dynamic_shapes=free", "")], ["portable"]),
        (
            [
                ("manager.save(run.state_dict(), run.step)",
                 "folder.joinpath('checkpoints').mkdir(exist_ok=True, parents=True); "
                 "torch.save(run.state_dict(), folder / 'checkpoints' / 'last.pt')"),
                ("if manager.latest() is not None:",
                 "if (folder / 'checkpoints/last.pt').exists():"),
                ("manager.restore()", "torch.load(folder / 'checkpoints' / 'last.pt')"),
            ],
            ["crash-proof"],
        ),
        (
            [("manager.save(run.state_dict(), run.step)",
              "manager.save(run.state_dict(), run.step); "
              "torch.save(Path('x'), folder / 'note.pt')")],
            ["safe"],
        ),
    ],
    ids=["no schedule", "no place", "train mode", "fixed batch", "torn", "a path"],
)  # fmt: skip
def test_a_mistake_breaks_its_property(tmp_path, changes, expected):
    assert broken(variant(tmp_path, *changes), tmp_path / "runs") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ValueError('my mistake')", "my mistake"),
        ("print('step 1 0.5')", "did not write final.safetensors"),
    ],
)
def test_a_script_that_does_not_work_is_told_why(tmp_path, text, words):
    (tmp_path / "train.py").write_text(text)
    (finding,) = examine(tmp_path / "train.py", tmp_path / "runs").findings
    assert not finding.holds
    assert words in finding.seen


def test_work_that_has_begun_is_not_written_over(tmp_path):
    script = begin(tmp_path / "capstone")
    assert script.read_text() == Path(fragile.__file__).read_text()
    script.write_text("mine")
    assert begin(tmp_path / "capstone").read_text() == "mine"


HEAD = """import sys, time
from pathlib import Path
run = Path(sys.argv[1])
run.mkdir(parents=True, exist_ok=True)
(run / "model.pt2").write_bytes(b"no program")
"""
STEPS = "for n in range(1, 31): print('step', n, 1 / n, flush=True)\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print('step x y'); print('step 1')", "did not write final.safetensors"),
        ("(run / 'final.safetensors').write_bytes(b'junk'); print('step x y')", "no line"),
        ("(run / 'final.safetensors').write_bytes(b'junk')\n" + STEPS, "cannot be read"),
        ("(run / 'final.safetensors').write_bytes(EMPTY)\n" + STEPS, "holds no weights"),
        ("(run / 'final.safetensors').write_bytes(EMPTY); print('step 30 0.5')", "not 1 to the"),
        ("(run / 'final.safetensors').write_bytes(OTHER)\n" + STEPS, "does not fit the network"),
        ("(run / 'final.safetensors').symlink_to('/etc/passwd')\n" + STEPS, "did not write final"),
        ("import os; os.mkfifo(run / 'final.safetensors')\n" + STEPS, "did not write final"),
        ("(run / 'final.safetensors').write_bytes(EMPTY); print('step 1 1\\nstep 3 1')", "follow"),
        ("sys.stdout.write('x' * 2**23)", "printed more than 4 MB"),
        ("print('step 1 0.5', flush=True); time.sleep(60)", "not done after 9 seconds"),
        ("import os; os.close(1); time.sleep(60)", "not done after 9 seconds"),
    ],
    ids=["no numbers", "no step", "junk", "empty", "made up", "other weights", "a link", "a pipe",
         "a gap", "talks", "hangs", "hangs in silence"],
)  # fmt: skip
def test_a_script_that_only_pretends_is_found_out(tmp_path, text, words):
    head = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    other = f"OTHER = {len(head).to_bytes(8, 'little') + head + bytes(4)!r}\n"
    empty = "EMPTY = (2).to_bytes(8, 'little') + b'{}'\n"
    (tmp_path / "train.py").write_text(HEAD + empty + other + text)
    seconds = 9 if "sleep" in text else 120
    findings = examine(tmp_path / "train.py", tmp_path / "runs", seconds=seconds).findings
    assert not any(finding.holds for finding in findings)
    assert words in findings[0].seen
