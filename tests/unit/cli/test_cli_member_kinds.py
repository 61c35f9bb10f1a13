"""What people are shown of the kinds that a member hosts."""

from __future__ import annotations

from inaho import Member, MemberStatus
from inaho.cli.member_output import describe_member, member_rows, own_kinds


def test_kinds_of_inaho_itself_are_not_shown():
    member = Member("127.0.0.1:7700", "0123456789abcdef", 1, MemberStatus.UP, ("Cart", "inaho.reminders", "inahoshop"))
    assert own_kinds(member) == ("Cart", "inahoshop")
    assert describe_member(member)["kinds"] == ["Cart", "inahoshop"]
    [row] = member_rows([member])
    assert "Cart, inahoshop" in row
    assert not any("inaho.reminders" in cell for cell in row)


def test_a_blocked_member_is_shown_as_blocked():
    member = Member("127.0.0.1:7700", "0123456789abcdef", 1, MemberStatus.UP)
    other = Member("127.0.0.1:7701", "0123456789abcdee", 1, MemberStatus.UP)
    rows = member_rows([member, other], ("127.0.0.1:7700",))
    assert [row[1] for row in rows] == ["up, blocked", "up"]
    described = [describe_member(known, ("127.0.0.1:7700",)) for known in (member, other)]
    assert [(known["status"], known["blocked"]) for known in described] == [("up", True), ("up", False)]
