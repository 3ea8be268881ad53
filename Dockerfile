# The gateway as a container: a builder that installs the pinned packages, and a small image that runs them.
#   docker build -t llm-gateway .
#   docker run -p 8080:8080 -v gateway-data:/data llm-gateway

FROM python:3.12-slim AS builder

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1

RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
# Wheels only: nothing is compiled, and no package's build script runs.
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && /opt/venv/bin/pip uninstall --yes pip \
    && /opt/venv/bin/python -m compileall -q /opt/venv

WORKDIR /app
COPY . .
# Static files need no secret: the ones that this step makes up stay in this stage.
RUN LLM_GATEWAY_ENVIRONMENT=development LLM_GATEWAY_DATA_DIR=/tmp/data \
    /opt/venv/bin/python manage.py collectstatic --noinput --verbosity 0 \
    && /opt/venv/bin/python -m compileall -q /app


FROM python:3.12-slim

# A fixed number, so that a volume's owner is known outside too.
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid gateway --no-create-home --home-dir /nonexistent gateway \
    && install --directory --owner gateway --group gateway --mode 0700 /data

COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LLM_GATEWAY_DATA_DIR=/data \
    LLM_GATEWAY_SERVER_HOST=0.0.0.0 \
    LLM_GATEWAY_SERVER_PORT=8080

# The image may run read-only: /data is the one place that is written to, and /tmp where it is mounted.
WORKDIR /app
VOLUME /data
# A number, so that a cluster can see that it is not root.
USER 10001:10001
EXPOSE 8080
# The server stops listening on SIGTERM and lets open streams finish.
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['LLM_GATEWAY_SERVER_PORT'] + '/health', timeout=2)"]

CMD ["python", "manage.py", "serve"]
