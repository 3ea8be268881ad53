"""Faults of a Redis that is several servers: a master behind Sentinels that goes, a cluster that loses a
node. Real servers, and the gateway's door and corridor around them."""

from __future__ import annotations

import pytest

from tests.faults.test_dependencies import allow, degraded, gateway_with, lose, outbox, requests, tokens
from tests.faults.whole import SURFACES
from tests.support.fake_upstream import FakeUpstream
from tests.support.redis_sets import ClusterSet, SentinelSet, wait
from tests.support.surfaces import ask

pytestmark = [pytest.mark.valkey, pytest.mark.timeout(300)]


@pytest.mark.parametrize("fault", ["kill", "stop"], ids=["killed", "frozen"])
def test_r9_a_master_that_is_replaced_costs_no_call(
    fake_upstream: FakeUpstream, fresh_sentinels: SentinelSet, fault: str
) -> None:
    with gateway_with(fake_upstream, fresh_sentinels.url) as live:
        allow(live, requests(10_000), tokens(10_000_000))
        assert ask(live, SURFACES[0]).header("x-ratelimit-limit-requests") == "10000"
        old = fresh_sentinels.master()
        getattr(old, fault)()
        assert set(lose(live)) == {200}
        # Until another is the master each process goes by its share.
        allow(live, requests(4))
        assert [ask(live, pair).status for pair in SURFACES * 4] == [200] * 4 + [429] * 4
        wait(lambda: fresh_sentinels.taken_over(old), "another is the master")
        wait(lambda: not degraded(live) and outbox(live) == 0, "it is found")
        allow(live, requests(3))
        assert [ask(live, pair).status for pair in SURFACES * 2] == [200] * 3 + [429]
        assert not degraded(live)
        if fault == "stop":
            old.cont()


@pytest.mark.parametrize("fault", ["kill", "stop"], ids=["killed", "frozen"])
def test_r10_a_cluster_that_lost_a_node_counts_as_away(
    fake_upstream: FakeUpstream, fresh_cluster: ClusterSet, fault: str
) -> None:
    with gateway_with(fake_upstream, fresh_cluster.url) as live:
        # The fake's key has a team of its own; its keys lie on one node, and that one goes.
        allow(live, requests(10_000), tokens(10_000_000))
        assert ask(live, SURFACES[0]).status == 200
        team = next(iter(live.holder.current.keys.values())).team.id
        node = fresh_cluster.owner(f"{{team{team}}}")
        getattr(node, fault)()
        assert set(lose(live)) == {200}
        allow(live, requests(4))
        assert [ask(live, pair).status for pair in SURFACES * 4] == [200] * 4 + [429] * 4
        if fault == "kill":
            node.start()
        else:
            node.cont()
        wait(lambda: not degraded(live) and outbox(live) == 0, "it is whole again")
        allow(live, requests(3))
        assert [ask(live, pair).status for pair in SURFACES * 2] == [200] * 3 + [429]
