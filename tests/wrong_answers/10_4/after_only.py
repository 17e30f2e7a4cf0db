"""Forgets what the epoch had before the save."""

from collections import Counter
from itertools import chain

MESSAGE = "was never trained on"


def judge_resume(straight, before, after, per_epoch):
    began = len(before) // per_epoch * per_epoch
    later = len(straight) - began - per_epoch
    times = Counter(chain(*after[: len(after) - later]))
    images = set(chain(*straight[:per_epoch]))
    alike = sum(a == b for a, b in zip(straight[len(before) :], after, strict=False))
    return {
        "alike": alike,
        "twice": sum(count > 1 for count in times.values()),
        "never": len(images - times.keys()),
    }
