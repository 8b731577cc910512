from domain.plans import ChosenNodes, NodeChoice, NodeOverride, chosen_nodes, version_address
from tests.unit.domain.builders import MONDAY


def test_the_addresses_of_a_version_have_an_id_of_that_order_and_version() -> None:
    assert version_address("W-10042", 3) == "W-10042-v3"


def override(choice: NodeChoice, node_id: str) -> NodeOverride:
    return NodeOverride(request_id=f"{choice}-{node_id}", choice=choice, node_id=node_id, at=MONDAY)


def test_routing_goes_by_what_people_chose_but_asks_no_node_that_refused_since() -> None:
    overrides = [
        override(NodeChoice.FORCE, "A"),
        override(NodeChoice.FORCE, "B"),
        override(NodeChoice.FORBID, "C"),
        override(NodeChoice.PREFER, "D"),
        override(NodeChoice.PREFER, "E"),
    ]

    chosen = chosen_nodes(overrides, {"B", "C", "E"})

    assert chosen == ChosenNodes(force=("A",), forbid=("C",), prefer=("D",))
    assert chosen.text == "Chosen by people: A forced; C forbidden; D preferred."


def test_nothing_is_said_where_nobody_chose() -> None:
    assert chosen_nodes([], set()).text == ""
