"""Run every benchmark: a few minutes, and 5 GB of disk space."""

from benchmarks import (
    blocking,
    command,
    explorer,
    grading,
    listing,
    loading,
    memory,
    restoring,
    saving,
)
from benchmarks.states import STATES

saving.main(list(STATES))
loading.main(list(STATES))
restoring.main(list(STATES))
listing.main()
command.main()
explorer.main()
blocking.main()
memory.main()
grading.main()
