import gzip
import os
import zlib

import lz4.frame
import pyarrow as pa
import pytest
import zstandard

from spanhouse.errors import Malformed, Overloaded
from spanhouse.receivers.intake import Budget, TooLarge, decompress
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
