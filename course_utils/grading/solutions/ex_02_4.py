"""Reference answer of exercise 02.4."""

from collections.abc import Iterator

from course_utils.resume import ResumableSampler


def batches(
    size: int, batch_size: int, epochs: int, seed: int, place: dict[str, int] | None = None
) -> Iterator[tuple[list[int], dict[str, int]]]:
    """Yield pairs of a batch's indices and the place after it."""
    sampler = ResumableSampler(size, seed=seed)
    if place is not None:
        sampler.load_state_dict(place)
    for _ in range(sampler.epoch, epochs):
        rest = list(sampler)
        for start in range(0, len(rest), batch_size):
            batch = rest[start : start + batch_size]
            sampler.advance(len(batch))
            yield batch, sampler.state_dict()
        sampler.next_epoch()
