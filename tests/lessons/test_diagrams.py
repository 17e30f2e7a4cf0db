import pytest

from course_utils.lessons import diagrams, plots

DRAWINGS = [
    diagrams.names_tensors_storages, diagrams.archive_with_directory, diagrams.pickle_stack,
    diagrams.save_kill_resume, diagrams.choose_map_location, diagrams.which_format,
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
def test_no_text_leaves_the_card_and_all_say_what_they_show(draw, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda fig, **texts: shown.append((fig, texts)))
    draw()
    ((fig, texts),) = shown
    fig.canvas.draw()
    card = fig.bbox
    for text in fig.axes[0].texts:
        box = text.get_window_extent()
        assert card.x0 <= box.x0 < box.x1 <= card.x1, text.get_text()
        assert card.y0 <= box.y0 < box.y1 <= card.y1, text.get_text()
    assert len(texts["alt"]) > 100
    assert len(texts["caption"]) > 30
