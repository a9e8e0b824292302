import numpy as np
import pytest

from secateur.data.partition import TEST, TRAIN
from secateur.data.reuters import chosen_topics, reuters, stories
from secateur.errors import DataError

TEXT = "<TITLE>OIL &lt;X></TITLE><DATELINE>LONDON</DATELINE><BODY>Oil\nrose.\n Reuter\n&#3;</BODY>"


def story(topics, split="TRAIN", used="YES", text=TEXT, kind=""):
    listed = "".join(f"<D>{topic}</D>" for topic in topics)
    head = f'<REUTERS TOPICS="{used}" LEWISSPLIT="{split}" CGISPLIT="TRAINING-SET" OLDID="1" NEWID="2">'
    return f"{head}\n<TOPICS>{listed}</TOPICS>\n<PLACES><D>usa</D></PLACES>\n<TEXT{kind}>&#2;\n{text}</TEXT>\n</REUTERS>\n"


def test_title_and_body_are_read_and_entities_undone():
    (read,) = stories(story(["crude", "ship"]), "f")
    assert (read.part, read.topics, read.title, read.body) == (TRAIN, ("crude", "ship"), "OIL <X>", "Oil rose. Reuter")


def test_modapte_leaves_the_others_out():
    text = story(["a"], split="NOT-USED") + story(["a"], used="NO") + story(["a"], used="BYPASS") + story([], split="TEST")
    (read,) = stories(text, "f")
    assert (read.part, read.topics) == (TEST, ())


def test_stories_without_a_body():
    brief = story(["a"], text="<TITLE>ONLY A TITLE</TITLE>", kind=' TYPE="BRIEF"')
    unprocessed = story(["a"], text="CORRECTION\n read 24.7", kind=' TYPE="UNPROC"')
    first, second = stories(brief + unprocessed, "f")
    assert (first.title, first.body) == ("ONLY A TITLE", "")
    assert (second.title, second.body) == ("", "CORRECTION read 24.7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (story(["a"]).replace("</REUTERS>", "") + story(["b"]), "f, line 10: a story that is not closed"),
        (story(["a"])[:-12], "f, line 8: the last story is cut off"),
        (story(["a"]) + story(["b"], split="VALID"), "f, line 10: unknown LEWISSPLIT 'VALID'"),
        (story(["a"]).replace("<TOPICS>", "<TOPIX>"), "f, line 1: a story without <TOPICS>"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, message):
    with pytest.raises(DataError, match=message):
        stories(text, "f")


def test_the_subsets_of_topics():
    text = story(["a", "b"]) + story(["a"]) + story(["c"]) + story(["b", "d"], split="TEST")
    read = stories(text, "f")
    assert chosen_topics(read, "r115") == ["a", "b", "c"]
    assert chosen_topics(read, "r90") == ["b"]
    assert chosen_topics(read, "r10") == ["a", "b", "c"]


@pytest.mark.parametrize(("topics", "train", "test"), [("r10", 6_490, 2_545), ("r90", 7_770, 3_019), ("r115", 7_775, 3_019)])
def test_counts(real_files, topics, train, test):
    data = reuters(real_files, topics=topics)
    assert len(data.splits["train"]) + len(data.splits["valid"]) == train
    assert len(data.splits["test"]) == test
    assert data.shape.outputs == len(data.outputs) == int(topics[1:])
    notes = {note.what: note.count for note in data.notes}
    assert notes["ModApté training stories without a topic, left out"] == 1_828
    assert notes["ModApté test stories without a topic, left out"] == 280


def test_the_ten_largest_topics(real_files):
    data = reuters(real_files, topics="r10")
    assert data.outputs == ("earn", "acq", "money-fx", "grain", "crude", "trade", "interest", "wheat", "ship", "corn")
    train = data.splits["train"].targets.sum(0) + data.splits["valid"].targets.sum(0)
    assert train.int().tolist() == [2877, 1650, 538, 433, 389, 369, 347, 212, 197, 181]
    assert data.splits["test"].targets.sum(0).int().tolist() == [1087, 719, 179, 149, 189, 117, 131, 71, 89, 56]
    assert np.isin(data.splits["test"].targets, (0, 1)).all()
