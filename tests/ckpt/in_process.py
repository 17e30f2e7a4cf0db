"""Run ``ckpt`` in the process of the test."""

from course_utils.ckpt.main import main


def runner(capsys):
    """Return a function that runs a command line, and returns its status and all it printed."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return status, streams.out + streams.err

    return run
