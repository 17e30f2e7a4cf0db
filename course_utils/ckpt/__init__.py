"""The command ``ckpt``, one file a subcommand."""
