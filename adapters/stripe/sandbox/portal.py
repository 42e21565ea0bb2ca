"""Billing portal sessions and configurations. portal_page.py draws what they lead to."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

SESSION = "billing_portal.session"
CONFIGURATION = "billing_portal.configuration"
FLOWS = ("payment_method_update", "subscription_cancel")
FEATURES = [
    *("customer_update", "invoice_history", "payment_method_update"),
    *("subscription_cancel", "subscription_update"),
]


@route("POST", "/v1/billing_portal/sessions")
def create(call: Call) -> Json:
    """A link for one customer, which can be used once."""
    books, asked = call.books, call.params
    only(asked, ["configuration", "customer", "flow_data", "locale", "return_url"])
    if "customer" not in asked:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = books.get("customer", asked["customer"], "customer")
    return_url = asked.get("return_url")
    if return_url is not None and not pages.is_address(return_url):
        raise invalid("Not a valid URL", "return_url", "url_invalid")
    configuration = (
        books.get(CONFIGURATION, asked["configuration"], "configuration")
        if "configuration" in asked
        else default_configuration(books)
    )
    session_id = books.new_id("bps")
    secret = books.new_id("test")
    session = {
        "id": session_id,
        "object": SESSION,
        "configuration": configuration["id"],
        "created": call.now,
        "customer": customer["id"],
        "customer_account": None,
        "flow": _flow(books, customer["id"], asked.get("flow_data")),
        "livemode": False,
        "locale": asked.get("locale"),
        "on_behalf_of": None,
        "return_url": return_url or configuration["default_return_url"],
        "url": f"{books.url}/portal/session/{secret}",
    }
    # Who holds the link gets in, once: the page that it opens has a name of its own.
    books.put(
        {
            "object": "sandbox.portal",
            "id": secret,
            "session": session_id,
            "page": None,
            "until": call.now + 300,
        }
    )
    books.put(session)
    books.emit("billing_portal.session.created", session)
    return session


@route("POST", "/v1/billing_portal/configurations")
def configure(call: Call) -> Json:
    """What a portal lets people do."""
    books, asked = call.books, call.params
    only(asked, ["business_profile", "default_return_url", "features", "metadata", "name"])
    only(asked["features"], FEATURES, "features")
    configuration = _configuration(books, asked["features"]) | {
        "default_return_url": asked.get("default_return_url") or None,
        "metadata": merged({}, asked.get("metadata")),
        "name": asked.get("name") or None,
    }
    configuration["business_profile"] |= asked.get("business_profile") or {}
    books.put(configuration)
    books.emit("billing_portal.configuration.created", configuration)
    return configuration


@route("POST", "/v1/billing_portal/configurations/{id}")
def reconfigure(call: Call) -> Json:
    """Change what a portal lets people do."""
    books, asked = call.books, call.params
    only(asked, ["active", "default_return_url", "features", "metadata", "name"])
    only(asked.get("features") or {}, FEATURES, "features")
    before = books.get(CONFIGURATION, call.path["id"], "configuration")
    after = before | {"updated": call.now, "features": dict(before["features"])}
    for name in ("active", "default_return_url", "name"):
        if name in asked:
            after[name] = asked[name]
    for name, feature in (asked.get("features") or {}).items():
        after["features"][name] = before["features"][name] | feature
    after["metadata"] = merged(before["metadata"], asked.get("metadata"))
    books.put(after)
    books.emit("billing_portal.configuration.updated", after, changed(before, after))
    return after


@route("GET", "/v1/billing_portal/configurations/{id}")
def retrieve_configuration(call: Call) -> Json:
    """One configuration."""
    return call.books.get(CONFIGURATION, call.path["id"], "configuration")


@route("GET", "/v1/billing_portal/configurations")
def list_configurations(call: Call) -> Json:
    """All configurations, newest first."""
    equal = {name: call.params[name] for name in ("active", "is_default") if name in call.params}
    found = call.books.find(CONFIGURATION, **equal)
    return listed(call, "/v1/billing_portal/configurations", found)


def default_configuration(books: Books) -> Json:
    """The one that a session has which names none; made at its first use."""
    found = books.find(CONFIGURATION, is_default=True)
    if found:
        return found[0]
    return books.put(_configuration(books, {}) | {"is_default": True})


def _flow(books: Books, customer_id: str, asked: Json | None) -> Json | None:
    if asked is None:
        return None
    kind = asked["type"]
    if kind not in FLOWS:
        raise invalid(f"The sandbox does not play the flow `{kind}`; Stripe would.", "flow_data")
    flow: Json = {
        "after_completion": _after(asked.get("after_completion")),
        "customer_update": None,
        "subscription_cancel": None,
        "subscription_pause": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
        "type": kind,
    }
    if kind == "subscription_cancel":
        wanted = (asked.get(kind) or {}).get("subscription")
        if wanted is None:
            param = "flow_data[subscription_cancel][subscription]"
            raise invalid(f"Missing required param: {param}.", param, "parameter_missing")
        subscription = books.get("subscription", wanted, "subscription")
        if subscription["customer"] != customer_id:
            raise invalid("This subscription belongs to another customer.", "flow_data")
        flow[kind] = {"retention": None, "subscription": wanted}
    return flow


def _after(asked: Json | None) -> Json:
    asked = asked or {"type": "portal_homepage"}
    kind = asked["type"]
    if kind == "hosted_confirmation":
        raise invalid("The sandbox does not play `hosted_confirmation`.", "flow_data")
    redirect = {"return_url": asked["redirect"]["return_url"]} if kind == "redirect" else None
    return {"hosted_confirmation": None, "redirect": redirect, "type": kind}


def _configuration(books: Books, asked: Json) -> Json:
    """A configuration with these features; those that are not named are as Stripe sets them."""
    features: dict[str, Any] = {
        "customer_update": {"allowed_updates": ["email"], "enabled": True},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True, "payment_method_configuration": None},
        "subscription_cancel": {
            "cancellation_reason": {"enabled": False, "feedback_options": None, "options": []},
            "enabled": True,
            "mode": "at_period_end",
            "proration_behavior": "none",
        },
        "subscription_pause": {
            "duration": {"interval_options": [], "type": "indefinite"},
            "enabled": False,
        },
        "subscription_update": {
            "billing_cycle_anchor": None,
            "default_allowed_updates": [],
            "enabled": False,
            "products": None,
            "proration_behavior": "none",
            "schedule_at_period_end": {"conditions": []},
            "trial_update_behavior": "end_trial",
        },
    }
    if asked:
        # Features that a new configuration does not name are off.
        for feature in features.values():
            feature["enabled"] = False
    for name, feature in asked.items():
        features[name] |= feature
    return {
        "id": books.new_id("bpc"),
        "object": CONFIGURATION,
        "active": True,
        "application": None,
        "business_profile": {
            "headline": None,
            "privacy_policy_url": None,
            "terms_of_service_url": None,
        },
        "created": books.now(),
        "default_return_url": None,
        "features": features,
        "is_default": False,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": books.now(),
    }
