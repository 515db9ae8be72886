"""Fair scheduling of file indexing, so that no company blocks another."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from chat.conf import conf
from chat.retrieval import index
from chat.retrieval.pipeline import index_file
from tenants.db import DatabasePool, run_in_pool


class IndexPool:
    """The indexing slots of this process, counted per company.

    Each company may use only a share of the slots, so that its slow files never occupy all of
    them. The next file is taken from the pending company with the fewest files in progress, then
    from the company that was least recently served.
    """

    def __init__(self) -> None:
        self._reading: Counter[UUID] = Counter()
        self._turns: dict[UUID, int] = {}
        self._turn = 0

    async def read_waiting_files(self) -> None:
        """Index files one after another until none is left that this process may take."""
        while (chosen := await self._choose()) is not None:
            store_file_id, tenant_id = chosen
            try:
                await index_file(tenant_id, store_file_id)
            finally:
                self._reading[tenant_id] -= 1

    async def _choose(self) -> tuple[int, UUID] | None:
        """Choose a file and occupy a slot, which the caller releases."""
        files = await run_in_pool(
            DatabasePool.FILES, index.list_next_files, self._list_full_companies()
        )
        # Other tasks may have occupied slots during the database call.
        full = self._list_full_companies()
        open_files = [file for file in files if file[1] not in full]
        if not open_files:
            self._forget_turns()
            return None
        chosen = min(open_files, key=lambda file: self._rank(file[1]))
        self._turn += 1
        self._reading[chosen[1]] += 1
        self._turns[chosen[1]] = self._turn
        return chosen

    def _rank(self, tenant_id: UUID) -> tuple[int, int]:
        return self._reading[tenant_id], self._turns.get(tenant_id, 0)

    def _list_full_companies(self) -> set[UUID]:
        share = min(conf.index_slots_per_company, max(1, conf.index_slots - 1))
        return {tenant_id for tenant_id, count in self._reading.items() if count >= share}

    def _forget_turns(self) -> None:
        """Forget companies without pending files or files in progress."""
        self._reading = +self._reading
        self._turns = {
            tenant_id: turn for tenant_id, turn in self._turns.items() if self._reading[tenant_id]
        }


index_pool = IndexPool()
