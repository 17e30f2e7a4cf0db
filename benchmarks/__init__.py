"""How fast saving and loading are, as ratios against named peers and the raw disk.

``make bench`` runs all; ``python -m benchmarks.saving`` and so on runs one question.
"""
