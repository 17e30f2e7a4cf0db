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
   - ``probe(answer, case)``: build models and files from the case, call the answer, and return
     what it did, as plain data. It runs beside the learner's code, which may lie, so it holds no
     opinion and **never computes the right answer**. Sharing of memory, identity, order of calls
     are reported as numbers and booleans. Files go to a ``tempfile.TemporaryDirectory()``.
   - ``judge(case, observed, expected)``: ``expected`` is what the same probe saw of the reference.
     Return `RIGHT`, or ``wrong(message, expected, came, credit=0.5)``: a message for each
     mistake you know. `judging.same_bits` is the judge where all must be equal, bit for bit.

   An exercise's credit is that of its worst case. The generators are seeded alike before each
   probe. A probe may import only what a sandbox has: torch, numpy, and `SANDBOX_MODULES` of this
   package (models, data, compare, …); a judge may import everything.

2. ``solutions/ex_03_2.py``: the reference. It may call the production helper of the lesson.
3. ``tests/wrong_answers/03_2/*.py``, four or more: a docstring that names the mistake, ``MESSAGE``
   (a part of the report it must get), ``CREDIT`` where it earns some, and the wrong answer itself.
   Other ways to be right go to ``tests/right_answers/03_2/``: the judge must take them all.
4. ``python -m course_utils.grading.sheets`` writes the notebook's source; ``make build`` builds it.
5. ``pytest tests/test_exercises.py -k 03.2``, and ``python -m course_utils.grading.mutants 03.2``,
   which spoils the reference in many ways and lists what the judge did not notice. Add a case,
   or mark a line that changes nothing with ``# mutant: equivalent``.
"""

from course_utils.extras import require

require("course", "torch", "IPython")

from course_utils.grading.checking import check, solution

__all__ = [
    "check",
    "solution",
]
