from numba import config

from spanhouse.otlp import wire


def test_kernels_are_compiled_anew_when_any_of_their_files_changed(tmp_path, monkeypatch):
    def twice(number):
        return 2 * number

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    hits = []
    for sources in ("as they were", "as they were", "changed"):
        monkeypatch.setattr(wire, "_SOURCES", sources)
        compiled = wire.entry(twice)
        assert compiled(21) == 42
        hits.append(sum(compiled.stats.cache_hits.values()))
    assert hits == [0, 1, 0]
