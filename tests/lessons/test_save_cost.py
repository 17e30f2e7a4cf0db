"""The model of cost, against sums one can do in the head."""

import pytest

from course_utils.lessons.save_cost import (
    Cluster,
    best_interval,
    lost_share,
    save_seconds,
    time_planning,
)

CLUSTER = Cluster(ranks_per_node=8, host_copy=50e9, network=40e9, storage=100e9, planning=1e-5)


def test_one_rank() -> None:
    assert save_seconds(CLUSTER, 1, 200e9, tensors=100) == pytest.approx(
        {"host copy": 4, "network": 5, "storage": 2, "planning": 1e-3}
    )


@pytest.mark.parametrize(("ranks", "nodes"), [(1, 1), (8, 1), (9, 2), (16, 2), (1000, 125)])
def test_ranks_of_a_node_share_its_link(ranks: int, nodes: int) -> None:
    seconds = save_seconds(CLUSTER, ranks, 80e9, tensors=1)
    assert seconds["network"] == pytest.approx(2 / nodes)
    assert seconds["host copy"] == pytest.approx(1.6 / ranks)
    assert seconds["storage"] == pytest.approx(0.8)


def test_planning_grows_with_the_pieces() -> None:
    few, many = (save_seconds(CLUSTER, n, 1e9, tensors=300)["planning"] for n in (10, 1000))
    assert many == pytest.approx(100 * few) == pytest.approx(3.0)


@pytest.mark.parametrize(("waiting", "between"), [(2, 10_000), (60, 10_000), (1, 1e6)])
def test_the_best_interval_loses_least(waiting: float, between: float) -> None:
    best = best_interval(waiting, between)
    at_best = lost_share(best, waiting, between)
    assert all(lost_share(best * f, waiting, between) > at_best for f in (0.5, 0.9, 1.1, 2))


def test_lost_share_by_hand() -> None:
    assert lost_share(interval=100, waiting=1, between_failures=1000) == pytest.approx(0.06)


def test_planning_is_measured_on_dcps_own_planner() -> None:
    assert time_planning(ranks=3, tensors=2) > 0
