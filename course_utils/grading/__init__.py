"""Exercises that check themselves, and grading that an instructor can trust.

In a notebook::

    from course_utils.grading import check, solution

    check("01.1", keys)    # correct, not attempted yet, or wrong: input, expected, came, hint
    solution("01.1")       # the reference answer

How to write exercise 03.2
--------------------------

1. ``exercises/ex_03_2.py``, with ``exercises/ex_01_1.py`` as the pattern:

   - ``TASK``: what the learner reads, and the starter code, which defines the answer: one
     function or class, with a name no other exercise of the lesson uses. The starter either
     raises ``NotImplementedError`` or is code to repair; unchanged, it counts as no attempt.
   - ``cases(seed)``: the inputs to try, as plain data (numbers, texts, bytes, tensors, in lists and
     dictionaries). Learners get seed 0; grading draws another, so some case must depend on it.
   - ``probe(answer, question)``: call the answer and return what came, as plain data. It runs
     beside the learner's code, which may lie, so it holds no opinion and **never computes the
     right answer**. What is no number or text leaves as bytes, for instance by
     `sandbox.parcels.saved`: who shares memory, what is on meta or asks for a gradient can be
     read in them, and forging them is as hard as solving. The working directory is the case's.
   - ``judge(case, observed, expected)``: ``expected`` is what came of the reference likewise.
     Four functions more, where they are needed:
     ``ask(case)`` gives the question, if the case itself says what is right; its ``"files"`` lie
     in the working directory. ``watch(case)`` says what is seen from outside: system calls,
     memory, files that are left. ``then(case, came)`` gives a second question to a new process,
     where a resume must do without what the first one knew. ``read(case, seen)`` turns what
     came into what is judged, where no student's code runs: inputs that stand only there cannot
     be known to the answer.
     Return `RIGHT`, or ``wrong(message, expected, came, credit=0.5)``: a message for each
     mistake you know. `judging.same_bits` is the judge where all must be equal, bit for bit.

   An exercise's credit is that of its worst case. The generators are seeded alike before each
   of these. Probe and ``read`` may import only what a sandbox has: torch, numpy, `sandbox.parcels`
   and `SANDBOX_MODULES` of this package (models, data, compare, …); the others everything.

2. ``solutions/ex_03_2.py``: the reference. It may call the production helper of the lesson.
3. ``tests/wrong_answers/03_2/*.py``, four or more: a docstring that names the mistake, ``MESSAGE``
   (a part of the report it must get), ``CREDIT`` where it earns some, and the wrong answer itself.
   Other ways to be right go to ``tests/right_answers/03_2/``: the judge must take them all.
4. ``python -m course_utils.grading.sheets`` writes the notebook's source; ``make build`` builds it.
5. ``pytest tests/grading -k 03.2``, and ``python -m course_utils.grading.mutants 03.2``,
   which spoils the reference in many ways and lists what the judge did not notice. Add a case,
   or mark a line that changes nothing with ``# mutant: equivalent``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course_utils.grading.checking import check, solution

__all__ = [
    "check",
    "solution",
]


def __getattr__(name: str) -> Any:
    """Load a name when it is asked for: importing torch takes a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from course_utils.extras import require

    require("course", "torch", "IPython")
    from course_utils.grading import checking

    return getattr(checking, name)
