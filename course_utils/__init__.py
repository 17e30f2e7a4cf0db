"""Save and load PyTorch models: the implementation behind the course's lessons.

One module a topic, named like its lesson. Import from the module, for example
``from course_utils.checkpoint import save_checkpoint``.
"""
