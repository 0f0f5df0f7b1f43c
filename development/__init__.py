"""Private RabbitMQ, PostgreSQL and Redis servers, for tests, benchmarks, faults and for people.

Each server runs from the installed binaries, on free ports of the loopback, with all that it keeps
in one folder, and ends at the latest with the Python process that started it.
"""

from development.installation import ServerMissing
from development.postgres import PostgresServer
from development.process import ServerFailed
from development.rabbitmq import RabbitmqServer
from development.redis import RedisServer

__all__ = ["PostgresServer", "RabbitmqServer", "RedisServer", "ServerFailed", "ServerMissing"]
