"""What nodes announce: whatever is lost on the way, a node that has confirmed a version knows exactly its channels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.pubsub.announcements import ALL, Announcement, OwnChannels, RemoteChannels, group_channel, topic_of

CHANNELS = ("a", "b", "c", group_channel("a", "Kind.method"), group_channel("b", "Kind.method"))

steps = st.lists(
    st.tuples(st.sampled_from(("add", "remove", "tell", "lose", "forget")), st.sampled_from(CHANNELS)), max_size=80
)


def tell(own: OwnChannels, remote: RemoteChannels, confirmed: int, *, size: int, lost_after: int | None = None) -> int:
    """Tells what has changed as the announcer does; returns the version that is confirmed then."""
    for number, part in enumerate(own.since(confirmed, size)):
        if lost_after == number:
            return confirmed
        accepted, _ = remote.apply("n", part)
        if not accepted:
            return ALL
    return own.version


@given(steps, st.integers(1, 6), st.integers(1, 60))
def test_a_node_that_has_confirmed_a_version_knows_the_channels(
    history: list[tuple[str, str]], changes_max: int, size: int
) -> None:
    own, remote, wanted, confirmed = OwnChannels(changes_max), RemoteChannels(), dict[str, int](), ALL
    began: dict[str, int] = {}
    for step, channel in history:
        if step == "add":
            assert own.add(channel) == (channel not in wanted)
            if channel not in wanted:
                began[channel] = own.version
            wanted[channel] = wanted.get(channel, 0) + 1
        elif step == "remove" and channel in wanted:
            wanted[channel] -= 1
            assert own.remove(channel) == (not wanted[channel])
            if not wanted[channel]:
                del wanted[channel]
        elif step == "tell":
            confirmed = tell(own, remote, confirmed, size=size)
            if confirmed == ALL:
                confirmed = tell(own, remote, confirmed, size=size)
            assert confirmed == own.version == remote.version_of("n")
            own.confirmed_by_all(confirmed)
            assert list(remote.nodes_of) == [] or set(remote.nodes_of) == set(wanted)
            assert set(remote.nodes_of) == set(wanted)
            assert {each: remote.since("n", each) for each in wanted} == {each: began[each] for each in wanted}
        elif step == "lose":
            confirmed = tell(own, remote, confirmed, size=size, lost_after=len(channel) % 3)
        elif step == "forget":
            remote.forget("n")
            assert not remote.nodes_of
            assert not remote.groups_of
        own.check()
        remote.check()


def test_all_channels_replace_the_former_ones_with_the_last_part() -> None:
    remote = RemoteChannels()
    assert remote.apply("n", Announcement(ALL, 3, added={"a": 1, "b": 2})) == (True, ["a", "b"])
    assert "n" in remote
    assert remote.apply("n", Announcement(ALL, 5, 0, True, {"b": 2})) == (True, [])
    assert set(remote.nodes_of) == {"a", "b"}
    assert remote.apply("n", Announcement(ALL, 5, 2, False, {"d": 5})) == (False, [])
    assert remote.apply("n", Announcement(ALL, 6, 1, False, {"d": 5})) == (False, [])
    assert remote.apply("n", Announcement(ALL, 5, 1, False, {"c": 4})) == (True, ["a", "c"])
    assert set(remote.nodes_of) == {"b", "c"}
    remote.check()


def test_a_change_is_taken_only_by_a_node_that_has_what_it_changes() -> None:
    remote = RemoteChannels()
    assert remote.apply("n", Announcement(0, 1, added={"a": 1})) == (False, [])
    assert remote.apply("n", Announcement(ALL, 4, added={"a": 1})) == (True, ["a"])
    assert remote.apply("n", Announcement(3, 5, added={"b": 5})) == (False, [])
    assert remote.apply("n", Announcement(4, 5, added={"b": 5}, removed=["a"])) == (True, ["a", "b"])
    assert remote.apply("n", Announcement(5, 7, added={"b": 7})) == (True, ["b"])  # it ended and began again
    assert remote.forget("n") == ["b"]
    assert remote.forget("n") == []


def test_a_million_subscriptions_leave_nothing() -> None:
    own, remote, confirmed = OwnChannels(4096), RemoteChannels(), ALL
    for number in range(1_000_000):
        channel = f"t{number % 1000}"
        own.add(channel)
        own.remove(channel)
        if number % 5000 == 0:
            confirmed = tell(own, remote, confirmed, size=1 << 20)
            own.confirmed_by_all(confirmed)
    tell(own, remote, confirmed, size=1 << 20)
    own.confirmed_by_all(own.version)
    assert len(own) == 0
    assert own.since(own.version, 100) == [Announcement(own.version, own.version)]
    assert not remote.nodes_of


def test_names_of_groups_have_their_topic() -> None:
    assert topic_of("prices") == "prices"
    assert topic_of(group_channel("prices", "Portfolio.on_price")) == "prices"
