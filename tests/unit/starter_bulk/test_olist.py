from decimal import Decimal
from pathlib import Path

import pytest

from domain.network import NodeKind
from domain.orders import Order
from starter.bulk.format_names import Format
from starter.bulk.formats import detect, load
from starter.bulk.loaded import UnreadableInputError
from starter.bulk.olist import Arrival, OlistData

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "olist"
SELLER, OTHER_SELLER = "a" * 32, "b" * 32

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the Olist data set is not at {DATA.parent.name}/{DATA.name}"
)

FILES = {
    "olist_orders_dataset.csv": (
        "order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,"
        "order_delivered_carrier_date,order_delivered_customer_date,order_estimated_delivery_date\n"
        "o1,c1,delivered,2017-10-02 10:56:33,,,,2017-10-18 00:00:00\n"
        "o2,c1,canceled,2017-10-03 10:56:33,,,,2017-10-18 00:00:00\n"
        "o3,c2,shipped,2017-07-04 23:30:00,,,,2017-10-18 00:00:00\n"
        "o4,c2,delivered,2017-07-05 00:00:00,,,,2017-10-18 00:00:00\n"
        "o5,c9,delivered,2017-07-06 00:00:00,,,,2017-10-18 00:00:00\n"
    ),
    "olist_order_items_dataset.csv": (
        "order_id,order_item_id,product_id,seller_id,shipping_limit_date,price,freight_value\n"
        f"o1,1,p1,{SELLER},2017-10-06 11:07:15,29.9,8.72\n"
        f"o1,2,p1,{SELLER},2017-10-06 11:07:15,29.9,8.72\n"
        f"o1,3,p2,{OTHER_SELLER},2017-10-06 11:07:15,100,1.5\n"
        f"o2,1,p1,{SELLER},2017-10-06 11:07:15,29.9,8.72\n"
        f"o3,1,p2,{SELLER},2017-10-06 11:07:15,99.5,0\n"
        f"o5,1,p2,{SELLER},2017-10-06 11:07:15,99.5,0\n"
    ),
    "olist_customers_dataset.csv": (
        "customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state\n"
        "c1,u1,01001,sao paulo,SP\n"
        "c2,u2,1004,sao paulo,SP\n"
    ),
    "olist_geolocation_dataset.csv": (
        '"geolocation_zip_code_prefix",geolocation_lat,geolocation_lng,geolocation_city,'
        "geolocation_state\n"
        "01001,-23.5,-46.6,sao paulo,SP\n"
        "01001,-29.0,-49.0,sao paulo,SP\n"
        "01003,-23.6,-46.7,sao paulo,SP\n"
        "20000,-22.9,-43.2,rio de janeiro,RJ\n"
    ),
    "olist_sellers_dataset.csv": (
        "seller_id,seller_zip_code_prefix,seller_city,seller_state\n"
        f"{SELLER},20000,rio de janeiro,RJ\n"
        f"{OTHER_SELLER},19990,rio de janeiro,RJ\n"
    ),
    "olist_products_dataset.csv": (
        "product_id,product_category_name,product_name_lenght,product_description_lenght,"
        "product_photos_qty,product_weight_g,product_length_cm,product_height_cm,product_width_cm\n"
        "p1,utilidades_domesticas,40,268,4,500.0,19,8,13\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
    return tmp_path


def test_an_order_keeps_its_real_buyer_place_prices_and_freight(folder: Path) -> None:
    first, *_ = OlistData(folder)

    assert first.line_number == 2
    order = Order.model_validate(first.document)
    assert order.order_id == order.external_id == "o1"
    assert (order.source, order.brand, order.region, order.currency) == (
        "olist",
        "olist",
        "SP",
        "BRL",
    )
    assert order.placed_at.isoformat() == "2017-10-02T13:56:33+00:00"
    assert [(x.sku, x.quantity, x.unit_price) for x in order.lines] == [
        ("p1", 2, Decimal("29.90")),
        ("p2", 1, Decimal("100.00")),
    ]
    assert order.lines[1].attributes == {"seller_id": OTHER_SELLER}
    assert [(x.type, x.amount) for x in order.charges] == [("shipping", Decimal("18.94"))]
    assert order.total == Decimal("178.74")
    address = order.ship_groups[0].address
    assert address is not None
    assert (address.city, address.region, address.postal_code) == ("sao paulo", "SP", "01001")
    assert (address.latitude, address.longitude) == (-23.5, -46.6)


def test_cancelled_orders_and_those_without_items_are_left_out_and_counted(folder: Path) -> None:
    data = OlistData(folder)

    assert [x.order_id for x in data if x.document] == ["o1", "o3"]
    assert data.report.orders_never_shipped == 2


def test_an_order_of_an_unknown_customer_is_an_error_of_its_line(folder: Path) -> None:
    *_, last = OlistData(folder)

    assert (last.line_number, last.document) == (6, None)
    assert last.error == "customer_id: not in olist_customers_dataset.csv"


def test_an_unknown_prefix_takes_the_nearest_ones_place_and_is_reported(folder: Path) -> None:
    data = OlistData(folder)

    third_order = list(data)[1].document
    network = data.network()

    assert third_order is not None
    assert third_order["ship_groups"][0]["address"]["latitude"] == -23.6
    assert data.report.customers_without_prefix == {"01004"}
    assert data.report.sellers_without_prefix == {OTHER_SELLER}
    assert network.nodes[1].place.latitude == -22.9


def test_sellers_become_supplier_nodes_with_just_the_stock_the_orders_need(folder: Path) -> None:
    data = OlistData(folder, limit=2)
    network, products, arrivals = data.network(), data.products(), data.arrivals()

    assert [(x.node_id, x.kind, x.connection_id) for x in network.nodes] == [
        (f"seller-{SELLER}", NodeKind.SUPPLIER, "wms-main"),
        (f"seller-{OTHER_SELLER}", NodeKind.SUPPLIER, "wms-main"),
    ]
    assert network.nodes[0].time_zone == "America/Sao_Paulo"
    assert arrivals == [
        Arrival("o1", f"seller-{SELLER}", "p1", 2),
        Arrival("o1", f"seller-{OTHER_SELLER}", "p2", 1),
        Arrival("o3", f"seller-{SELLER}", "p2", 1),
    ]
    assert len({x.key for x in arrivals}) == 3
    assert [(x.sku, x.weight_grams, x.length_mm, x.width_mm, x.height_mm) for x in products] == [
        ("p1", 500, 190, 130, 80),
        ("p2", 0, 0, 0, 0),
    ]


def test_the_folder_is_told_by_its_orders_file(folder: Path) -> None:
    assert detect(folder) is Format.OLIST
    assert isinstance(load(folder, Format.AUTO, 1), OlistData)


def test_a_missing_file_or_column_refuses_the_folder(folder: Path) -> None:
    (folder / "olist_sellers_dataset.csv").write_text("seller\nx\n")
    with pytest.raises(UnreadableInputError, match="the header has no column 'seller_id'"):
        OlistData(folder).network()

    (folder / "olist_sellers_dataset.csv").unlink()
    with pytest.raises(UnreadableInputError, match=r"'olist_sellers_dataset\.csv' of the Olist"):
        OlistData(folder)


@needs_data
def test_the_public_files_give_500_valid_orders_that_their_stock_fills() -> None:
    data = OlistData(DATA, 500)

    orders = [Order.model_validate(x.document) for x in data]
    arrivals = data.arrivals()
    network = data.network()

    assert len(orders) == len(data) == 500
    assert sum(x.quantity for x in arrivals) == 604
    assert sum(line.quantity for order in orders for line in order.lines) == 604
    assert len(network.nodes) == 219
    assert {x.node_id for x in arrivals} == {x.node_id for x in network.nodes}
    assert orders[0].order_id == "2e7a8482f6fb09756ca50c10d7bfc047"
    assert orders[0].total == Decimal("136.23")
