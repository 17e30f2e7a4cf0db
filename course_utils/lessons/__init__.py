"""What only the notebooks use: data, models, plots, measuring, and faults made on purpose."""

from course_utils.extras import require

require("course", "torch")
