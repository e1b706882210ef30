"""The store of root and cluster: MongoDB, one document per record, one write per batch.

A record of kind ``instances`` and key ``k`` is the document ``{_id: "instances/k", kind: "instances", …its fields}`` in
the one collection ``records``: people can read the database, and a batch is one bulk write however many kinds it has
(a collection for each kind cost a round trip for each). A batch of several changes is one transaction, journaled by a
majority: all or none, and still there after a power cut. The server refuses a transaction that takes longer than 60 s;
at tens of thousands of documents a second `TIMEOUT_S` is reached first, at some 200,000 changes. Larger batches must be
divided by the caller, who knows where they may be cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import anyio.to_thread
import bson
import msgspec
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from . import Change, Drop, Put, Record, StoreError, merged

TIMEOUT_S = 10.0
"""For any one call, with all the driver's own retries: who waits longer is better told."""

LOAD_BATCH = 20_000
"""Documents asked for at a time; the server cuts off at 16 MiB."""

FEW = 50
"""Changes that are all written as replacements: inserts beside them would be one more command, which takes longer."""

_DUPLICATE_KEY = 11000
_NATIVE = (bytes,)
"""What BSON can hold as it is, beyond the types of JSON."""

COLLECTION = "records"

Document = dict[str, Any]
Write = InsertOne[Document] | ReplaceOne[Document] | DeleteOne


class MongoStore:
    """Keeps records of `kinds` in one database of a replica set (one member is enough; transactions need it)."""

    def __init__(
        self, url: str, database: str, kinds: Mapping[str, type[Record]], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        milliseconds = int(timeout_s * 1000)
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            url, timeoutMS=milliseconds, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds
        )
        self._database = self._client.get_database(
            database, write_concern=WriteConcern(w="majority", j=True), read_concern=ReadConcern("majority")
        )
        self._records = self._database[COLLECTION]
        self._kinds = dict(kinds)
        self._stored: set[str] = set()
        """Ids known to be there: inserting a new document costs the server half of what replacing one does."""

    async def load(self) -> list[Record]:
        """Every record of all kinds; raises StoreError when out of reach or when a document is not of its type."""
        by_kind: dict[str, list[Document]] = {kind: [] for kind in self._kinds}
        try:
            async for batch in self._records.find_raw_batches({"kind": {"$in": list(by_kind)}}, batch_size=LOAD_BATCH):
                for document in bson.decode_all(batch):
                    by_kind[document["kind"]].append(document)
        except PyMongoError as error:
            raise StoreError(f"MongoDB did not give the records: {error}") from error
        records = [record for kind, documents in by_kind.items() for record in self._converted(kind, documents)]
        self._stored = {_id(record.kind, record.key) for record in records}
        return records

    async def save(self, changes: Sequence[Change]) -> None:
        """All of the changes or none, journaled by a majority on return; raises StoreError, after which call again."""
        last = merged(changes)
        if not last:
            return
        try:
            try:
                await self._write(last, self._stored)
            except BulkWriteError as error:
                if not _says_duplicate(error):
                    raise
                # Something is there that we did not know of: an earlier batch whose answer was lost.
                await self._write(last, None)
        except PyMongoError as error:
            raise StoreError(f"MongoDB did not take {len(last)} changes: {_in_words(error)}") from None
        self._remember(last)

    async def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _converted(self, kind: str, documents: list[Document]) -> list[Record]:
        if kind not in self._kinds:
            raise StoreError(
                f"the database {self._database.name} holds {len(documents)} records of unknown kind {kind!r}"
            )
        try:
            return msgspec.convert(documents, list[self._kinds[kind]])
        except msgspec.ValidationError as error:
            raise StoreError(f"the database {self._database.name} holds what is no {kind}: {error}") from error

    async def _write(self, changes: Sequence[Change], stored: Set[str] | None) -> None:
        """One bulk write, in a transaction if there is more than one change."""
        operations = [_write_of(change, stored if len(changes) > FEW else None) for change in changes]
        if len(operations) == 1:
            await self._records.bulk_write(operations)
            return
        # By type, so that it takes three commands at most; ordered, so that the first error is the one we hear of.
        operations.sort(key=lambda operation: type(operation).__name__)
        await anyio.to_thread.run_sync(self._transact, operations)

    def _transact(self, operations: list[Write]) -> None:
        """All of it in one thread, on the client that motor wraps: motor would change threads for every step."""
        client, records = self._client.delegate, self._records.delegate
        with client.start_session() as session, session.start_transaction(write_concern=records.write_concern):
            records.bulk_write(operations, ordered=True, session=session)

    def _remember(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Put):
                self._stored.add(_id(change.record.kind, change.record.key))
            else:
                self._stored.discard(_id(change.kind, change.key))


def _id(kind: str, key: str) -> str:
    """Unique over all kinds; never taken apart again."""
    return f"{kind}/{key}"


def _write_of(change: Change, stored: Set[str] | None) -> Write:
    """The change as MongoDB wants it; an insert only where nothing of that id is known to be stored."""
    if isinstance(change, Drop):
        return DeleteOne({"_id": _id(change.kind, change.key)})
    record, id = change.record, _id(change.record.kind, change.record.key)
    document: Document = {"_id": id, "kind": record.kind, **msgspec.to_builtins(record, builtin_types=_NATIVE)}
    if stored is None or id in stored:
        return ReplaceOne({"_id": id}, document, upsert=True)
    return InsertOne(document)


def _problems(error: PyMongoError) -> list[dict[str, Any]]:
    return (error.details or {}).get("writeErrors", []) if isinstance(error, BulkWriteError) else []


def _says_duplicate(error: BulkWriteError) -> bool:
    return any(problem.get("code") == _DUPLICATE_KEY for problem in _problems(error))


def _in_words(error: PyMongoError) -> str:
    """What went wrong without the documents themselves, which hold what users gave their workloads as environment."""
    return "; ".join(str(problem.get("errmsg")) for problem in _problems(error)[:1]) or str(error)
