import asyncio
import gzip
import os
import threading
import zlib
from concurrent.futures import Future

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

from spanhouse.errors import Malformed, Overloaded
from spanhouse.pipeline import Accepted
from spanhouse.receivers.intake import Budget, Outcomes, TooLarge, decompress
from tests.receivers.tools import Peak

LIMIT = 1 << 20
TEXT = bytes(range(256)) * 1000


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def snappy_block(data: bytes) -> bytes:
    return pa.compress(data, codec="snappy", asbytes=True)


def snappy_frames(data: bytes) -> bytes:
    """As golang/snappy writes it (a chunk stays as it is where compression does not help), and padding."""
    stream = b"\xff\x06\x00\x00sNaPpY" + b"\xfe\x03\x00\x00\0\0\0"
    for at in range(0, len(data), 1 << 16):
        piece = data[at : at + (1 << 16)]
        kind, body = min((0, snappy_block(piece)), (1, piece), key=lambda chunk: len(chunk[1]))
        stream += bytes([kind]) + (len(body) + 4).to_bytes(3, "little") + b"\0\0\0\0" + body
    return stream


MEMBERS = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("zstd", lambda data: zstandard.ZstdCompressor(write_content_size=False).compress(data)),
    ("lz4", lz4.frame.compress),
    ("x-snappy-framed", snappy_frames),
]
COMPRESSED = [*MEMBERS, ("zlib", zlib.compress), ("snappy", snappy_block), ("snappy", snappy_frames)]


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSED)
def test_gives_back_what_was_compressed(encoding, compress):
    incompressible = os.urandom(200_000)
    for data in (b"", b"x", TEXT, incompressible):
        assert decompress(compress(data), encoding, LIMIT) == data
        assert decompress(compress(data), encoding, len(data)) == data


@pytest.mark.parametrize(("encoding", "compress"), MEMBERS)
def test_several_members_are_one_body(encoding, compress):
    data = b"".join(compress(part) for part in (b"one ", TEXT, b"", b" three"))
    assert decompress(data, encoding, LIMIT) == b"one " + TEXT + b" three"


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSED)
def test_one_byte_over_the_limit_is_too_large(encoding, compress):
    with pytest.raises(TooLarge, match=str(len(TEXT) - 1)):
        decompress(compress(TEXT), encoding, len(TEXT) - 1)


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSED)
def test_data_that_ends_early_is_malformed(encoding, compress):
    whole = compress(os.urandom(50_000))
    for size in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        with pytest.raises(Malformed):
            decompress(whole[:size], encoding, LIMIT)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", b"not compressed at all"),
        ("gzip", gzip.compress(TEXT)[:-8] + bytes(8)),  # wrong checksum
        ("gzip", gzip.compress(TEXT) + b"garbage"),
        ("deflate", b"\xff" * 20),
        ("zstd", b"not compressed at all"),
        ("lz4", b"not compressed at all"),
        ("lz4", lz4.frame.compress(TEXT) + b"garbage"),
        ("snappy", b"\xff" * 20),
        ("snappy", snappy_block(TEXT) + b"garbage"),
        ("snappy", snappy_frames(TEXT) + b"\x02\x04\x00\x00\0\0\0\0"),  # no such type of chunk
        ("snappy", snappy_frames(TEXT) + b"\x00\x02\x00\x00\0\0"),  # no room for a checksum
    ],
)
def test_damaged_data_is_malformed(encoding, data):
    with pytest.raises(Malformed, match=encoding):
        decompress(data, encoding, LIMIT)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(bytes(64 << 20)) * 16),
        ("deflate", zlib.compress(bytes(64 << 20)) * 16),
        ("zstd", zstandard.ZstdCompressor().compress(bytes(1 << 30))),
        ("lz4", lz4.frame.compress(bytes(64 << 20)) * 16),
        ("snappy", snappy_block(bytes(64 << 20))),
        ("snappy", b"\xff\xff\xff\xff\x0f"),  # says four gigabytes
        ("snappy", snappy_frames(bytes(64 << 20))),
        ("snappy", snappy_frames(b"") + b"\x01\x05\0\0\0\0\0\0x" * (1 << 20) + snappy_frames(b"xx")),
    ],
)
def test_bombs_are_not_unpacked(encoding, bomb):
    peak = Peak()
    with pytest.raises(TooLarge):
        decompress(bomb, encoding, LIMIT)
    assert peak.grown() < 32 << 20


def test_many_tiny_members_are_one_body():
    assert decompress(gzip.compress(b"x") * 50_000, "gzip", LIMIT) == b"x" * 50_000


def test_a_budget_refuses_what_does_not_fit_and_gets_all_back():
    budget = Budget(100)
    with budget.share() as first, budget.share() as second:
        first(60)
        second(40)
        with pytest.raises(Overloaded):
            second(1)
    with budget.share() as third:
        third(100)


def test_outcomes_of_many_threads_reach_all_that_wait() -> None:
    async def ask() -> None:
        outcomes = Outcomes()
        futures: list[Future[Accepted]] = [Future() for _ in range(2000)]
        waiting = [asyncio.ensure_future(outcomes.of(future)) for future in futures]
        await asyncio.sleep(0)
        waiting[7].cancel()

        def answer(first: int) -> None:
            for number in range(first, len(futures), 4):
                if number % 5:
                    futures[number].set_result(Accepted(number, 0, ""))
                else:
                    futures[number].set_exception(Malformed(str(number)))

        threads = [threading.Thread(target=answer, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
        for number, outcome in enumerate(found):
            if number == 7:
                assert isinstance(outcome, asyncio.CancelledError)
            elif number % 5:
                assert outcome == Accepted(number, 0, "")
            else:
                assert isinstance(outcome, Malformed)
                assert str(outcome) == str(number)
        assert await outcomes.of(futures[1]) == Accepted(1, 0, "")  # done before it is asked for

    asyncio.run(ask())
