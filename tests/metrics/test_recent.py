from __future__ import annotations

from bnsbench.metrics.recent import Recent


def test_the_least_recently_used_is_forgotten():
    kept: Recent[int] = Recent(2)
    computed: list[int] = []

    def get(key: int) -> int:
        def compute() -> int:
            computed.append(key)
            return key

        return kept.get(key, compute)

    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert computed == [1, 2, 3, 2]
