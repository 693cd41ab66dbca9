from __future__ import annotations

from bnsbench.metrics.recent import Recent


def test_the_least_recently_used_is_forgotten():
    kept, computed = Recent(2), []

    def get(key):
        return kept.get(key, lambda: computed.append(key) or key)

    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert computed == [1, 2, 3, 2]
