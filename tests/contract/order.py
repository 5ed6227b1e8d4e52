"""Take an order.

It has what schemas are made of: nested models, unions with a tag, dates, bounds.
"""

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class Card(BaseModel):
    kind: Literal["card"]
    number: Annotated[str, Field(pattern=r"^[0-9]{12,19}$")]


class Cash(BaseModel):
    kind: Literal["cash"]


class Item(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    count: Annotated[int, Field(ge=1, le=100)] = 1
    tags: list[str] = []


class Receipt(BaseModel):
    total: int
    at: datetime


async def handle(
    items: list[Item],
    pay: Annotated[Card | Cash, Field(discriminator="kind")],
    day: date | None = None,
    note: str | int = "",
) -> Receipt:
    """Adds up what was ordered.

    Args:
        items: what was ordered
        day: when it is wanted
    """
    return Receipt(total=sum(item.count for item in items), at=datetime(2030, 1, 1, tzinfo=UTC))
