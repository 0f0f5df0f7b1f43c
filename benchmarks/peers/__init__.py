"""The system on RabbitMQ, PostgreSQL and Redis beside Celery, Dramatiq and Taskiq."""
