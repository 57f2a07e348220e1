"""Whose turn it is: what each client gets, whatever the others ask for."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.fair_queue import FairQueue


def serve(queue, turns, cost_of_large=1.0):
    """Take items as one thread does: each is charged before the next one is taken."""
    taken = []
    for _ in range(turns):
        client, number = queue.pop()
        queue.charge(client, cost_of_large if client == "large" else 1.0)
        taken.append((client, number))
    return taken


def add(queue, client, count):
    for number in range(count):
        queue.append(client, (client, number))


def test_one_client_s_items_stay_in_their_order():
    queue = FairQueue()
    add(queue, "a", 5)
    assert len(queue) == 5
    assert list(queue) == [("a", number) for number in range(5)]
    assert list(queue.heads()) == [("a", 0)]
    assert serve(queue, 5) == [("a", number) for number in range(5)]
    assert queue.pop() is None
    assert (len(queue), list(queue), list(queue.heads()), queue.has("a")) == (0, [], [], False)


def test_a_client_goes_ahead_of_another_one_s_flood():
    queue = FairQueue()
    add(queue, "flood", 80)
    serve(queue, 10)
    add(queue, "honest", 1)
    assert serve(queue, 3) == [("honest", 0), ("flood", 10), ("flood", 11)]


@given(
    costs=st.lists(st.floats(0.01, 5), min_size=2, max_size=5),
    seed=st.integers(0, 99),
)
def test_waiting_clients_are_served_equally_whatever_their_items_cost(costs, seed):
    """No two differ by more than an item of each, at any time."""
    queue, spent = FairQueue(), dict.fromkeys(range(len(costs)), 0.0)
    for client in spent:
        add(queue, client, 300)
    generator = random.Random(seed)
    for _ in range(200):
        client, _ = queue.pop()
        cost = costs[client] * generator.uniform(0.5, 1)
        queue.charge(client, cost)
        spent[client] += cost
        assert max(spent.values()) - min(spent.values()) <= 2 * max(costs)


def test_who_was_away_gets_no_credit():
    queue = FairQueue()
    add(queue, "busy", 2000)
    add(queue, "other", 1)
    for _ in range(100):  # many short visits are no credit either
        serve(queue, 9)
        add(queue, "other", 1)
    serve(queue, 10)
    add(queue, "other", 50)
    names = [client for client, _ in serve(queue, 40)]
    assert abs(names.count("busy") - names.count("other")) <= 2


def test_who_was_served_more_keeps_that_debt_when_it_leaves():
    """Otherwise a client with large work would be new each time that its queue is empty."""
    queue = FairQueue()
    add(queue, "small", 100)
    add(queue, "large", 1)
    taken = []
    for _ in range(45):
        ((client, _),) = serve(queue, 1, cost_of_large=20.0)
        taken.append(client)
        if client == "large":
            assert not queue.has("large")
            add(queue, "large", 1)
    assert taken.count("large") == 3


def test_new_clients_do_not_keep_a_waiting_one_from_its_turn():
    queue = FairQueue()
    add(queue, "patient", 20)
    serve(queue, 2)
    taken = []
    for number in range(200):
        queue.append(number, (number, 0))
        taken += serve(queue, 1)
    assert [client for client, _ in taken].count("patient") >= 10


def test_a_client_that_is_away_is_forgotten():
    queue = FairQueue()
    add(queue, "busy", 9000)
    for number in range(1000):
        queue.append(number, (number, 0))
        serve(queue, 3)
    assert len(queue._lanes) <= 5


@pytest.mark.parametrize("skipped", ["a", "b"])
def test_a_client_can_be_skipped(skipped):
    queue = FairQueue()
    add(queue, "a", 2)
    add(queue, "b", 2)
    other = "b" if skipped == "a" else "a"
    for number in range(2):
        assert queue.pop(lambda client: client == skipped) == (other, number)
    assert queue.pop(lambda client: client == skipped) is None
    assert queue.pop() == (skipped, 0)
