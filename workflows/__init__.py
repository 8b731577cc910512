"""Durable orchestration of orders and fulfillments on Temporal; no SQL, no outside calls here."""
