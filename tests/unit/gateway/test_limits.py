from trainyard_operator.gateway.limits import RateLimit


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


def test_a_burst_passes_and_then_one_turn_for_each_part_of_a_second():
    clock = Clock()
    limit = RateLimit(per_second=2, burst=3, clock=clock)
    assert [limit.wait_for("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.seconds += 0.5
    assert [limit.wait_for("a") for _ in range(2)] == [0, 0.5]


def test_callers_do_not_wait_for_each_other():
    limit = RateLimit(per_second=1, burst=1, clock=Clock())
    assert [limit.wait_for(key) for key in "aba"] == [0, 0, 1]


def test_rest_earns_no_more_than_a_burst():
    clock = Clock()
    limit = RateLimit(per_second=10, burst=2, clock=clock)
    limit.wait_for("a")
    clock.seconds += 3600
    assert [limit.wait_for("a") for _ in range(3)] == [0, 0, 0.1]


def test_memory_stays_bounded():
    limit = RateLimit(per_second=1, burst=1, clock=Clock())
    for n in range(10_001):
        limit.wait_for(str(n))
    assert len(limit._buckets) == 10_000
    assert limit.wait_for("10000") == 1
    assert limit.wait_for("0") == 0
