"""Counts over the whole run."""

from collections import Counter
from itertools import chain

MESSAGE = "came more than once"


def judge_resume(straight, before, after, per_epoch):
    times = Counter(chain(*before, *after))
    images = set(chain(*straight[:per_epoch]))
    alike = sum(a == b for a, b in zip(straight[len(before) :], after, strict=False))
    return {
        "alike": alike,
        "twice": sum(count > 1 for count in times.values()),
        "never": len(images - times.keys()),
    }
