"""The runtime on asyncio, in rooms. A room imports only from the rooms below it.

From the ground up: `local` (what all parts of one node share), `transport` (bytes between processes), `grains` (what
users write), `turns` (one call at one activation), `activation` (the activations of one kind on one node),
`connections` (authenticated connections), `placement` (who may activate what), `freshness` (answers that are not older
than what was saved elsewhere), `calls` (the caller's side), `messages` and `reminders`, `control` (the control plane
on asyncio), `node` (composition), `operators` and `telemetry` (what people and exporters ask), `cluster` (what a
process sees of its cluster). The contracts in `pyproject.toml` enforce the order.
"""
