"""Two demonstration companies, in the same trade and with the same order numbers."""

from __future__ import annotations

from dataclasses import dataclass

# (name, quantity, price in US dollars)
Line = tuple[str, int, str]


@dataclass(frozen=True)
class DemoPerson:
    """Person who can sign in; a person in two companies has the same address in both."""

    email: str
    name: str
    role: str


@dataclass(frozen=True)
class DemoOrder:
    """Order; days count from the day it is loaded, and `customer` is an index."""

    number: int
    customer: int
    status: str
    ordered_days_ago: int
    expected_in_days: int | None
    carrier: str
    tracking_number: str
    address: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class DemoCompany:
    """Company whose members order for `customers[0]`; the other customers have no members."""

    slug: str
    name: str
    color: str
    people: tuple[DemoPerson, ...]
    customers: tuple[str, ...]
    orders: tuple[DemoOrder, ...]


BOTH = DemoPerson("robin@both.example", "Robin Vale", "member")

NORTHWIND = DemoCompany(
    slug="northwind",
    name="Northwind Outfitters",
    color="#1d6f54",
    people=(
        DemoPerson("maya@northwind.example", "Maya Lind", "member"),
        DemoPerson("theo@northwind.example", "Theo Brandt", "member"),
        DemoPerson("ines@northwind.example", "Ines Okafor", "admin"),
        DemoPerson("oscar@northwind.example", "Oscar Hale", "owner"),
        BOTH,
    ),
    customers=("Cedar Ridge Hiking Club", "Lakeside Summer Camp"),
    orders=(
        DemoOrder(
            1040, 0, "delivered", 21, -14, "Summit Parcel", "SP-77120418",
            "14 Cedar Lane, Boulder, CO 80302",
            (("Trail map set, Front Range", 6, "14.50"), ("Compass with mirror", 6, "32.00")),
        ),
        DemoOrder(
            1041, 0, "cancelled", 16, None, "", "",
            "14 Cedar Lane, Boulder, CO 80302", (("Camp stove, two burners", 1, "119.00"),),
        ),
        DemoOrder(
            1042, 0, "shipped", 4, 2, "Summit Parcel", "SP-77341906",
            "14 Cedar Lane, Boulder, CO 80302",
            (("Ridgeline two-person tent", 2, "289.00"), ("Titanium tent pegs, 12", 2, "38.50")),
        ),
        DemoOrder(
            1043, 0, "packed", 1, 4, "Summit Parcel", "",
            "14 Cedar Lane, Boulder, CO 80302", (("Down sleeping bag, -5 °C", 3, "214.00"),),
        ),
        DemoOrder(
            1044, 0, "placed", 0, 6, "", "",
            "14 Cedar Lane, Boulder, CO 80302",
            (("Trekking poles, carbon", 4, "96.00"), ("Water filter", 2, "44.90")),
        ),
        DemoOrder(
            1045, 1, "placed", 0, 7, "", "",
            "3 Lakeside Road, Estes Park, CO 80517", (("Canoe paddle, ash", 12, "58.00"),),
        ),
    ),
)  # fmt: skip

HARBOR = DemoCompany(
    slug="harbor",
    name="Harbor Supply",
    color="#1f5fa8",
    people=(
        DemoPerson("lena@harbor.example", "Lena Torres", "member"),
        DemoPerson("jonas@harbor.example", "Jonas Pike", "member"),
        DemoPerson("priya@harbor.example", "Priya Nair", "admin"),
        DemoPerson("walter@harbor.example", "Walter Quinn", "owner"),
        BOTH,
    ),
    customers=("Stillwater Paddlers", "Gull Point Marina"),
    orders=(
        DemoOrder(
            1040, 0, "delivered", 30, -24, "Coastline Express", "CX-55018832",
            "8 Pier Street, Portland, ME 04101", (("Spray deck, neoprene", 3, "129.00"),),
        ),
        DemoOrder(
            1041, 0, "shipped", 3, 1, "Coastline Express", "CX-55190417",
            "8 Pier Street, Portland, ME 04101",
            (("Dry bag, 40 litres", 4, "42.00"), ("Deck compass", 1, "88.00")),
        ),
        DemoOrder(
            1042, 0, "packed", 2, 5, "Coastline Express", "",
            "8 Pier Street, Portland, ME 04101",
            (("Sea kayak, 5.2 m", 1, "1480.00"), ("Carbon paddle, two-part", 1, "310.00")),
        ),
        DemoOrder(
            1043, 0, "placed", 0, 8, "", "",
            "8 Pier Street, Portland, ME 04101", (("Life vest, size M", 5, "74.50"),),
        ),
        DemoOrder(
            1044, 0, "placed", 1, 6, "", "",
            "8 Pier Street, Portland, ME 04101",
            (("Roof rack cradles, pair", 2, "165.00"), ("Cam straps, 4 m", 4, "12.90")),
        ),
        DemoOrder(
            1045, 1, "shipped", 5, 0, "Coastline Express", "CX-55201166",
            "1 Marina Way, Kennebunkport, ME 04046", (("Mooring line, 12 mm", 20, "31.00"),),
        ),
    ),
)  # fmt: skip

COMPANIES = (NORTHWIND, HARBOR)
