"""Makes the node of a plain tensor, as the pickle of a checkpoint describes it."""

from course_utils.formats.dtypes import ITEMSIZE, STORAGES
from course_utils.formats.open import dense
from course_utils.formats.pickle_nodes import Call, Global, OrderedDictNode, PersistentId

# Newer dtypes have no typed storage: torch stores their bytes, and names the dtype beside them.
_TYPED = {dtype: name for name, dtype in STORAGES.items() if name != "UntypedStorage"}


def tensor_node(key: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> Call:
    """Return the call that makes a tensor, as ``torch.Tensor.__reduce_ex__`` describes it.

    Args:
        key: of its storage, which holds its elements in order and nothing else.
        dtype: torch's name of it.
        shape: length of each dimension.
        nbytes: bytes of the storage.
    """
    typed = _TYPED.get(dtype)
    kind = Global("torch", typed) if typed else Global("torch.storage", "UntypedStorage")
    count = nbytes // ITEMSIZE[dtype] if typed else nbytes
    storage = PersistentId(("storage", kind, key, "cpu", count))
    plain = (storage, 0, shape, dense(shape), False, OrderedDictNode())
    if typed:
        return Call(Global("torch._utils", "_rebuild_tensor_v2"), plain)
    function = Global("torch._utils", "_rebuild_tensor_v3")
    return Call(function, (*plain, Global("torch", dtype)))
