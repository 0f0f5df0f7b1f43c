"""RabbitMQ: the spine, shared by any number of processes. Works with RabbitMQ 3.10 to 4.3.

`link.py` keeps a connection alive, `topology.py` names what is on the broker; `publisher.py`,
`consumer.py`, `log.py` and `inventory.py` each serve a part of what `spine.py` offers.
"""
