"""Nothing under this folder is a test, whatever its name: notebooks are samples, too."""

collect_ignore_glob = ["*"]
