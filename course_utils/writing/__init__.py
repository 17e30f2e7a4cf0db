"""Write a file so that a crash costs nothing, as fast as the disk takes it."""
