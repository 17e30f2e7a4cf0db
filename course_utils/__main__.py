"""The checkpoint doctor: ``python -m course_utils --help``."""

import sys

from course_utils.ckpt.main import main

sys.exit(main())
