"""Lesson 10: one tiny run, trained, killed and resumed by four frameworks, each in its own way.

``python -m course_utils.lessons.frameworks.with_lightning FOLDER`` does it with one of them; the
``frameworks`` extra brings what they need.
"""
