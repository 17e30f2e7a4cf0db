"""What ``torch.load(weights_only=True)`` lets a file import, by version of torch.

A test compares the table with the torch that is installed. Source:
``torch._weights_only_unpickler._get_allowed_globals``.
"""

JUDGED_FOR = "2.14"  # the version of torch for which `ckpt audit` judges

# What versions lack of the names below, as module: names. Each was compared with the real one.
_LACKS = {
    "2.6": """torch: bcomplex32 float4_e2m1fn_x2 float8_e8m0fnu int1 int2 int3 int4 int5 int6 int7
        uint1 uint2 uint3 uint4 uint5 uint6 uint7""",
    "2.13": "torch: bcomplex32",
    "2.14": "",
    "2.15": "torch._utils: _rebuild_nested_tensor",
}
VERSIONS = tuple(_LACKS)

_NAMES = """
_codecs: encode
builtins: bytearray complex set
collections: Counter OrderedDict
torch: BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage
torch: CharTensor ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage
torch: FloatTensor HalfStorage HalfTensor IntStorage IntTensor LongStorage LongTensor QInt32Storage
torch: QInt8Storage QUInt2x4Storage QUInt4x2Storage QUInt8Storage ShortStorage ShortTensor Size
torch: Tensor bcomplex32 bfloat16 bits16 bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32
torch: complex64 device float16 float32 float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz
torch: float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int16 int2 int3 int32 int4 int5 int6 int64
torch: int7 int8 per_channel_affine per_channel_affine_float_qparams per_channel_symmetric
torch: per_tensor_affine per_tensor_symmetric qint32 qint8 quint2x4 quint4x2 quint8 uint1 uint16
torch: uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7 uint8
torch._tensor: _rebuild_from_type_v2
torch._utils: _rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy
torch._utils: _rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_parameter
torch._utils: _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_tensor
torch._utils: _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_wrapper_subclass
torch.cuda: BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor
torch.cuda: CharStorage CharTensor ComplexDoubleStorage ComplexFloatStorage DoubleStorage
torch.cuda: DoubleTensor FloatStorage FloatTensor HalfStorage HalfTensor IntStorage IntTensor
torch.cuda: LongStorage LongTensor ShortStorage ShortTensor
torch.cuda.sparse: BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor
torch.cuda.sparse: IntTensor LongTensor ShortTensor
torch.nn.parameter: Parameter
torch.serialization: _get_layout
torch.sparse: BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor
torch.sparse: LongTensor ShortTensor
torch.storage: TypedStorage UntypedStorage
"""


def allowed(version: str) -> frozenset[str]:
    """Return what a version of torch lets a file import.

    Args:
        version: one of `VERSIONS`.

    Raises:
        KeyError: the version is not in the table.
    """
    module, _, lacking = _LACKS[version].partition(": ")
    names = {name for line in _NAMES.strip().splitlines() for name in _full(line)}
    return frozenset(names - {f"{module}.{name}" for name in lacking.split()})


def _full(line: str) -> list[str]:
    module, _, names = line.partition(": ")
    return [f"{module}.{name}" for name in names.split()]


TORCH_ALLOWS = allowed(JUDGED_FOR)
