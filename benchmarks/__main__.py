"""Run every benchmark: a few minutes, and 5 GB of disk space."""

from benchmarks import blocking, grading, listing, loading, memory, saving
from benchmarks.states import STATES

saving.main(list(STATES))
loading.main(list(STATES))
listing.main()
blocking.main()
memory.main()
grading.main()
