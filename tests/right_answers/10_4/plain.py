"""Counts with lists."""


def judge_resume(straight, before, after, per_epoch):
    epochs, inside = divmod(len(before), per_epoch)
    later = (len(straight) // per_epoch - epochs - 1) * per_epoch
    batches = before[len(before) - inside :] + after[: len(after) - later]
    seen = [image for batch in batches for image in batch]
    images = {image for batch in straight for image in batch}
    rest = straight[len(before) :]
    return {
        "alike": sum(rest[i] == after[i] for i in range(min(len(rest), len(after)))),
        "twice": sum(seen.count(image) > 1 for image in images),
        "never": sum(image not in seen for image in images),
    }
