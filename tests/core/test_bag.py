"""Recordings are opened whatever state they are in; of damaged ones all that is readable is there, in order."""

import pytest
from bags import write
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from strategies import examples

from lie_picard.recording.bag import BagError, find


def messages(bag):
    """Topic, time and data of everything that can be read before the reader gives up."""
    found = []
    with bag.opened() as reader:
        try:
            for connection, log_ns, data in reader.messages():
                assert reader.deserialize(data, connection.msgtype) is not None
                found.append((log_ns, connection.topic, bytes(data)))
        except Exception:
            return found
    return found


@pytest.fixture(scope="module", params=["mcap", "sqlite"])
def recording(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp(request.param) / "bag", frames=40, sqlite=request.param == "sqlite")


def storage(folder):
    return next(file for file in folder.iterdir() if file.suffix in (".mcap", ".db3"))


def copied(recording, folder, data, metadata=True):
    """The recording with another content of its storage file."""
    folder.mkdir(exist_ok=True)
    (folder / storage(recording).name).write_bytes(data)
    if metadata:
        (folder / "metadata.yaml").write_bytes((recording / "metadata.yaml").read_bytes())
    return folder


def test_a_whole_recording_has_no_problems(recording, tmp_path):
    bag = find(recording, tmp_path)
    assert bag.problems == () and bag.name == "bag" and len(messages(bag)) == 120


def test_a_single_file_is_a_recording_too(recording, tmp_path):
    bag = find(storage(recording), tmp_path)
    assert bag.problems == () and len(messages(bag)) == 120


def test_without_metadata_it_is_read_and_the_lack_named(recording, tmp_path):
    folder = copied(recording, tmp_path / "bare", storage(recording).read_bytes(), metadata=False)
    bag = find(folder, tmp_path / "rescue")
    assert "metadata.yaml is missing" in bag.problems[0] and len(messages(bag)) == 120


@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.05, 0.98))
@example(share=0.701959570400114)  # the half page at a database's end is not read as zeros
def test_of_a_truncated_recording_the_begin_is_read_and_the_damage_named(recording, tmp_path, share):
    data = storage(recording).read_bytes()
    folder = copied(recording, tmp_path / "cut", data[: round(share * len(data))])
    whole = set(messages(find(recording, tmp_path / "rescue")))
    try:
        bag = find(folder, tmp_path / "rescue")
    except BagError as error:
        assert "\n" not in str(error) and share < 0.5
        return
    found = messages(bag)
    assert any("damaged" in problem for problem in bag.problems)
    assert found and set(found) <= whole and [log for log, _, _ in found] == sorted(log for log, _, _ in found)
    if share > 0.6:
        assert len(found) > 40


@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0.1, 0.8), noise=st.binary(min_size=200, max_size=400))
def test_a_damaged_place_never_invents_messages(recording, tmp_path, where, noise):
    data = bytearray(storage(recording).read_bytes())
    at = round(where * len(data))
    data[at : at + len(noise)] = noise
    folder = copied(recording, tmp_path / "hurt", bytes(data))
    try:
        found = messages(find(folder, tmp_path / "rescue"))
    except BagError as error:
        assert "\n" not in str(error)
        return
    times = {log for log, _, _ in messages(find(recording, tmp_path / "rescue"))}
    assert {log for log, _, _ in found} <= times or recording.parent.name.startswith("sqlite")


@pytest.mark.parametrize("content", [None, b"", b"nothing of the kind" * 100])
def test_what_is_no_recording_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "other.mcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BagError) as caught:
        find(path, tmp_path / "rescue")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_key_changes_with_the_content(recording, tmp_path):
    data = storage(recording).read_bytes()
    before = find(copied(recording, tmp_path / "one", data), tmp_path).key
    assert find(recording, tmp_path).key == find(recording, tmp_path).key
    copied(recording, tmp_path / "one", data + b" ")
    assert find(tmp_path / "one", tmp_path / "rescue").key != before
