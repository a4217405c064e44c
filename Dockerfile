# syntax=docker/dockerfile:1
# Focal on the CPU.
#   docker build -t focal .
#   docker run -p 127.0.0.1:7866:7866 -v focal:/data focal

FROM python:3.11-slim-bookworm AS packages
# A compiler, for packages that have no wheel on some machines. It stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/focal
ENV PATH=/opt/focal/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.txt requirements-data.txt requirements-vision.txt ./
# torch's build for the CPU first, in the version of requirements.txt: PyPI's brings gigabytes of CUDA.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install "$(grep '^torch==' requirements.txt)" --index-url https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements.txt -r requirements-vision.txt \
 && pip install --no-deps -r requirements-data.txt

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Focal" \
      org.opencontainers.image.description="Image-generation server with Fooocus's parameters" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 focal \
 && useradd --uid 10001 --gid focal --home-dir /data --no-create-home --shell /usr/sbin/nologin focal \
 && install --directory --owner=focal --group=focal /data /data/outputs /data/inputs /data/models
COPY --from=packages /opt/focal /opt/focal
WORKDIR /srv/focal
COPY presets presets
COPY sdxl_styles sdxl_styles
COPY wildcards wildcards
COPY pipeline pipeline
COPY bus bus
COPY storage storage
COPY handlers handlers
COPY static static
COPY server.py settings.py LICENSE ./
ENV PATH=/opt/focal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/cache \
    FOCAL_HOST=0.0.0.0 \
    FOCAL_PORT=7866 \
    FOCAL_OUTPUTS_DIR=/data/outputs \
    FOCAL_INPUTS_DIR=/data/inputs \
    FOCAL_MODELS_DIR=/data/models
USER 10001:10001
VOLUME /data
EXPOSE 7866
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"FOCAL_PORT\"]}/health', timeout=4)"]
ENTRYPOINT ["python", "server.py"]
