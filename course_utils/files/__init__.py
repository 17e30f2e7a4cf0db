"""Open files, and write them so that a crash costs nothing, as fast as the disk takes it."""
