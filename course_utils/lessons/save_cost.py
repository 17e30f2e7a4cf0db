"""What a save costs from 1 rank to 1,000, and how often to save: a model on one page.

It knows four speeds and no queues, so it tells which part binds, not the exact second.
"""

import math
import pickle
import time
from dataclasses import dataclass

import torch
from torch.distributed.checkpoint import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import (
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)


@dataclass(frozen=True)
class Cluster:
    """The speeds that matter to a save.

    Attributes:
        ranks_per_node: ranks that share a node's network link.
        host_copy: from each rank's device to its node's memory, bytes a second.
        network: from each node to the storage, bytes a second.
        storage: what the storage takes in from all nodes together, bytes a second.
        planning: seconds rank 0 needs for each piece, a piece being one rank's part of a tensor.
    """

    ranks_per_node: int
    host_copy: float
    network: float
    storage: float
    planning: float


def save_seconds(
    cluster: Cluster, ranks: int, state_bytes: float, tensors: int
) -> dict[str, float]:
    """Return the seconds each part of a sharded save needs, by the part's name.

    Args:
        cluster: the machines.
        ranks: processes that save, each an equal part.
        state_bytes: the whole checkpoint.
        tensors: its number of tensors, each cut into one piece a rank.
    """
    nodes = math.ceil(ranks / cluster.ranks_per_node)
    return {
        "host copy": state_bytes / ranks / cluster.host_copy,
        "network": state_bytes / nodes / cluster.network,
        "storage": state_bytes / cluster.storage,
        "planning": ranks * tensors * cluster.planning,
    }


def best_interval(waiting: float, between_failures: float) -> float:
    """Return how many seconds of work to do between saves, so that the least time is lost.

    Args:
        waiting: seconds that training waits for a save.
        between_failures: mean seconds between failures of the whole job.

    Source:
        J. W. Young, A first order approximation to the optimum checkpoint interval,
        Communications of the ACM 17(9), 1974.
    """
    return math.sqrt(2 * waiting * between_failures)


def lost_share(interval: float, waiting: float, between_failures: float) -> float:
    """Return the share of time lost to waiting for saves and to work done again.

    A failure comes, on average, in the middle between two saves. Good while the interval is
    much shorter than the time between failures. Seconds throughout, as in ``best_interval``.
    """
    return waiting / interval + interval / (2 * between_failures)


def time_planning(ranks: int, tensors: int) -> float:
    """Do rank 0's share of a save by so many ranks, and return its seconds.

    That is: merge all ranks' plans into one, and pickle the result to send it. It needs no other
    process: the plans of the others are made up.
    """
    plans = [_plan(rank, ranks, tensors) for rank in range(ranks)]
    planner = DefaultSavePlanner()
    planner.set_up_planner({}, is_coordinator=True)
    start = time.perf_counter()
    merged, _ = planner.create_global_plan(plans)
    pickle.dumps(merged)
    return time.perf_counter() - start


def _plan(rank: int, ranks: int, tensors: int) -> SavePlan:
    rows, columns = 4, 64
    chunk = ChunkStorageMetadata(torch.Size((rank * rows, 0)), torch.Size((rows, columns)))
    data = TensorWriteData(chunk, TensorProperties(), torch.Size((ranks * rows, columns)))
    names = [f"model.layers.{number}.weight" for number in range(tensors)]
    items = [
        WriteItem(MetadataIndex(name, chunk.offsets), WriteItemType.SHARD, tensor_data=data)
        for name in names
    ]
    return SavePlan(items, planner_data={name: tuple(name.split(".", 1)) for name in names})
