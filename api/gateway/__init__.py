"""Calls to models on behalf of a service: authorised, sent on, streamed, charged for what came."""
