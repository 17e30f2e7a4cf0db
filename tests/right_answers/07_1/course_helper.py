"""Uses the lesson's own helper."""

from course_utils.files.durable import write_atomically


def save(path, data):
    write_atomically(path, lambda file: file.write(data))
