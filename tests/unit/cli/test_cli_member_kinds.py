"""What people are shown of the kinds that a member hosts."""

from __future__ import annotations

from inaho import Member, MemberStatus
from inaho.cli.client import member_rows
from inaho.cli.serving import describe_member, own_kinds


def test_kinds_of_inaho_itself_are_not_shown():
    member = Member("127.0.0.1:7700", "0123456789abcdef", 1, MemberStatus.UP, ("Cart", "inaho.reminders", "inahoshop"))
    assert own_kinds(member) == ("Cart", "inahoshop")
    assert describe_member(member)["kinds"] == ["Cart", "inahoshop"]
    [row] = member_rows([member])
    assert "Cart, inahoshop" in row
    assert not any("inaho.reminders" in cell for cell in row)
