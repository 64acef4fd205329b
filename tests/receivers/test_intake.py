import gzip
import os
import zlib

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


COMPRESSED = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("zstd", lambda data: zstandard.ZstdCompressor(write_content_size=False).compress(data)),
]


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSED)
def test_gives_back_what_was_compressed(encoding, compress):
    incompressible = os.urandom(200_000)
    for data in (b"", b"x", TEXT, incompressible):
        assert decompress(compress(data), encoding, LIMIT) == data
        assert decompress(compress(data), encoding, len(data)) == data


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSED)
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
    ],
)
def test_a_gigabyte_of_zeros_is_not_unpacked(encoding, bomb):
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
