"""``python -m course_utils``: the command ``ckpt``; and ``learn``, which opens the course."""

import sys

if sys.argv[1:2] == ["learn"]:
    from course_utils.lessons.__main__ import main
else:
    from course_utils.ckpt.main import main

sys.exit(main())
