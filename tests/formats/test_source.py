"""Windows on a source cost what they show, not what Python's own buffers hold."""

import tracemalloc

from course_utils.formats.source import BUFFER, Memory, Window

MANY = 1_000


def test_a_small_window_has_a_small_buffer():
    source = Memory(bytes(4 * MANY))
    tracemalloc.start()
    windows = [Window(source, 4 * n, 4) for n in range(MANY)]
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < MANY * 2048
    assert windows[7].read() == bytes(4)


def test_a_window_larger_than_its_buffer_is_read_whole():
    data = bytes(range(256)) * (BUFFER // 64)
    window = Window(Memory(data), 3, len(data) - 5)
    assert window.read(7) == data[3:10]
    assert window.read() == data[10:-2]
    assert Window(Memory(b""), 0, 0).read() == b""
