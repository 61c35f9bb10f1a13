"""Reads the log of one partition of stored sends: what has not ended, and which ids are remembered.

Why apart from `StoredSends`: a log is read in pieces, with pauses, and nothing is called before all of it was read.
"""

from __future__ import annotations

from collections import OrderedDict

from inaho.core.pubsub.send_records import ClockSet, SendFailed, SendRecord, SendsSettled, StoredSend

__all__ = ["SendHistory"]


class SendHistory:
    """What the records of a log say.

    Attributes:
        sends: by number, in the order of their newest records: its offset and the send. Only those with an id are kept
            after their end.
        number: of the last send.
        senders: the sequence number of the last send of each sender, the one that has sent last at the end.
    """

    def __init__(self) -> None:
        self.sends: OrderedDict[int, tuple[int, StoredSend]] = OrderedDict()
        self.number = 0
        self.senders: dict[str, int] = {}
        self._ids: dict[tuple[str, str, str], int] = {}

    def add(self, offset: int, record: SendRecord) -> None:
        """The next record of the log."""
        sends = self.sends
        if isinstance(record, StoredSend):
            sends[record.number] = (offset, record)
            sends.move_to_end(record.number)
            self.number = max(self.number, record.number)
            if record.id:  # an earlier send of that id has ended, and its id was forgotten
                name = (record.kind, record.key, record.id)
                earlier = self._ids.get(name, record.number)
                if earlier != record.number:
                    sends.pop(earlier, None)
                self._ids[name] = record.number
            last = self.senders.pop(record.sender, 0)
            self.senders[record.sender] = max(record.sequence, last)
        elif isinstance(record, SendsSettled):
            for number in record.numbers:
                at, send = sends.get(number, (0, None))
                if send is None:  # its record was trimmed
                    continue
                if send.id:
                    sends[number] = (at, record.applied(send))
                else:
                    del sends[number]
        elif isinstance(record, SendFailed):
            at, send = sends.get(record.number, (0, None))
            if send is not None:
                sends[record.number] = (at, record.applied(send))
        else:
            self._clock_set(record)

    def _clock_set(self, record: ClockSet) -> None:
        for number, (at, send) in self.sends.items():
            self.sends[number] = (at, record.applied(send))
