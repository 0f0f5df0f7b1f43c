# One image for every service: the command says which. `make image` builds it.

FROM docker.io/library/node:22-bookworm-slim AS page
WORKDIR /source/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM docker.io/library/python:3.13.5-slim-bookworm AS packages
COPY --from=ghcr.io/astral-sh/uv:0.7.13 /uv /usr/local/bin/uv
ENV UV_PROJECT_ENVIRONMENT=/opt/observatory UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /source
# The packages first: they change more seldom than the source. Every one is checked against its hash.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project --extra otel
COPY . .
COPY --from=page /source/src/observatory/interfaces/web/dist src/observatory/interfaces/web/dist
# What the wheel is built with is checked as well.
RUN uv build --wheel --require-hashes --build-constraints build-constraints.txt --out-dir /wheels \
    && uv pip install --python /opt/observatory/bin/python --no-deps --compile-bytecode /wheels/*.whl
# What uv locks the folder with is writable by everyone.
RUN rm -f /opt/observatory/.lock

FROM docker.io/library/python:3.13.5-slim-bookworm
LABEL org.opencontainers.image.title="Distributed Task Observatory" \
      org.opencontainers.image.description="A background-job system whose inside can be seen" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /opt/observatory /opt/observatory
ENV PATH=/opt/observatory/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"OBSERVATORY_PORT\", \"8080\")}/livez', timeout=4)"]
# Last, as they are others each time. `make image` gives both.
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
ENTRYPOINT ["observatory"]
