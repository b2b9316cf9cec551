"""Who pays: revenue, margin, burn, and where the money breaks even.

Daily users follow from the messages served, at the assumed messages per user and day; subscribers
are an assumed share of them. Both are implied, not simulated.
"""

from dataclasses import dataclass

from kaiju_sim.economics.cost.bill import Bill, Month
from kaiju_sim.economics.values import Values

DAYS_PER_MONTH = 365.0 / 12.0


@dataclass(frozen=True)
class Business:
    """A month's money."""

    daily_users: float
    """Users of a day: messages of a day / messages of a user."""
    subscribers: float
    """Of these, who pay."""
    subscription_usd: float
    """Revenue from subscriptions, after fees."""
    ads_usd: float
    """Revenue from advertising."""
    cost_usd: float
    """The bill."""
    gross_margin: float | None
    """1 - bill / revenue; none without revenue."""
    burn_usd: float
    """Bill - revenue (negative: money is left, before staff)."""
    break_even_price_usd: float | None
    """Price of a subscription at which the margin is 0; none without subscribers."""
    break_even_daily_users: float | None
    """Daily users from which revenue covers the bill, the fleet growing with them: fixed cost
    (training) / (revenue - other cost of a user). None if a user costs more than he brings."""
    break_even_subscriber_messages: float | None
    """Messages a month at which a subscription, after fees, just pays for its own messages."""


def price_of(subscription: float | None, values: Values) -> float:
    """Price of a subscription: as stated, else as assumed."""
    return values["users.subscription_usd_per_month"] if subscription is None else subscription


def business_of(bill: Bill, month: Month, price: float, values: Values) -> Business:
    """Revenue, margin and break-even points at a subscription price."""
    users = month.messages / DAYS_PER_MONTH / values["users.messages_per_user_day"]
    paid = users * values["users.subscribers_per_daily_user"]
    kept = 1.0 - values["users.payment_fee"]
    subscriptions = paid * price * kept
    ads = (users - paid) * values["users.ads_usd_per_free_user_month"]
    revenue, cost = subscriptions + ads, bill.total
    return Business(
        daily_users=users,
        subscribers=paid,
        subscription_usd=subscriptions,
        ads_usd=ads,
        cost_usd=cost,
        gross_margin=1.0 - cost / revenue if revenue > 0 else None,
        burn_usd=cost - revenue,
        break_even_price_usd=max(0.0, cost - ads) / (paid * kept) if paid * kept > 0 else None,
        break_even_daily_users=_users(bill, revenue, users),
        break_even_subscriber_messages=(price * kept * month.messages / cost if cost > 0 else None),
    )


def _users(bill: Bill, revenue: float, users: float) -> float | None:
    """Users at which revenue covers fixed cost and what each user costs."""
    left = revenue - (bill.total - bill.training)
    if users <= 0 or left <= 0:
        return None
    return bill.training / (left / users)
