"""What tests do in a back end past the provider, as an operator or another program would."""

from __future__ import annotations

import pytest

__all__ = ["BackEnd"]


class BackEnd:
    """Override what your back end can; the tests of the rest are skipped. All of it concerns the prefix of the test."""

    def entry_of(self, authority: str) -> str:
        """How the text of an error names the entry of an authority."""
        return authority

    async def write_member(self, authority: str, text: str) -> None:
        """Writes the entry of an authority, without expiry, whatever the text is."""
        pytest.skip("entries cannot be written past the provider")

    async def write_members(self, texts: dict[str, str]) -> None:
        """Writes the entries of many authorities; override it where one at a time is slow."""
        for authority, text in texts.items():
            await self.write_member(authority, text)

    async def remove_member(self, authority: str) -> None:
        """Removes the entry of an authority."""
        pytest.skip("entries cannot be removed past the provider")

    async def block(self, authority: str) -> None:
        """Blocks an authority."""
        pytest.skip("the back end has no blocked authorities")

    async def unblock(self, authority: str) -> None:
        """Ends the block of an authority."""
        pytest.skip("the back end has no blocked authorities")

    async def expire(self, authority: str) -> None:
        """Makes the registration of an authority run out sooner; without it the test waits for `ttl_s`."""

    async def lose_history(self) -> None:
        """Makes a watch from an earlier position impossible: a compaction, or an index that begins again."""
        pytest.skip("the back end cannot lose its history")
