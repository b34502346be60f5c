# syntax=docker/dockerfile:1
# Two stages: the first resolves the locked, hashed requirements into a virtual environment, the second carries only it.
# --build-arg LOCK=core leaves out the analytics worker (statsmodels, scikit-learn, pandas).
FROM python:3.13-slim-bookworm AS build
ARG LOCK=run
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/aiops \
 && /opt/aiops/bin/pip install --no-cache-dir --require-hashes -r requirements/${LOCK}.txt
COPY pyproject.toml README.md LICENSE ./
COPY aiops/ aiops/
COPY models/ models/
COPY alert_rules/ alert_rules/
COPY dashboards/ dashboards/
RUN python -m venv /opt/tools \
 && /opt/tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && /opt/tools/bin/hatchling build -t wheel -d /tmp/wheel \
 && /opt/aiops/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
 && /opt/aiops/bin/python -m compileall -q /opt/aiops/lib

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="aiops" \
      org.opencontainers.image.description="AIOps daemon for LLM-serving fleets" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/aiops /opt/aiops
ENV PATH=/opt/aiops/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    NVIDIA_DRIVER_CAPABILITIES=utility
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/aiops
USER 65532:65532
VOLUME /var/lib/aiops
EXPOSE 9797
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s CMD ["aiops", "healthcheck"]
ENTRYPOINT ["aiops"]
CMD ["run"]
