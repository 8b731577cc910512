from domain.plans import version_address


def test_the_addresses_of_a_version_have_an_id_of_that_order_and_version() -> None:
    assert version_address("W-10042", 3) == "W-10042-v3"
