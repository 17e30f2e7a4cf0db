"""The checkpoint doctor: ``python -m course_utils --help``."""

import sys

from course_utils.cli import main

sys.exit(main())
